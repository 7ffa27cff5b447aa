"""The self-test that runs inside Slicer, here in the host."""

import sys
import unittest

import pytest
import slicer

pytestmark = pytest.mark.usefixtures("choices")


@pytest.fixture
def self_test(host, opened):
    """The module's own test."""
    return sys.modules["DinoUNetSlicer"].DinoUNetSlicerTest()


def run_by_unittest(test):
    result = unittest.TestResult()
    test.run(result)
    return result


def test_it_passes(self_test):
    result = run_by_unittest(self_test)
    assert result.wasSuccessful() and not result.skipped, result.errors + result.failures


def test_without_the_packages_unittest_counts_it_as_skipped(self_test, plant_package):
    slicer.app.settings().setValue("DinoUNetSlicer/EngineKind", "slicer")
    plant_package("timm", "0.9.2")
    result = run_by_unittest(self_test)
    ((_, reason),) = result.skipped
    assert "lacks timm>=1.0.20" in reason


def test_without_the_packages_reload_and_test_says_so_and_ends(self_test, plant_package, caplog):
    slicer.app.settings().setValue("DinoUNetSlicer/EngineKind", "slicer")
    plant_package("timm", "0.9.2")
    with caplog.at_level("INFO"):
        self_test.runTest()
    assert "lacks timm>=1.0.20" in caplog.text

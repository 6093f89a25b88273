"""What a test run says about skipped tests, as hooks of pytest."""

import os

import pytest


def pytest_terminal_summary(terminalreporter):
    """Close with what was not tested, and why."""
    skipped = terminalreporter.stats.get('skipped', [])
    in_browser = [report for report in skipped if 'test_browser.py' in report.nodeid]
    if in_browser:
        reason = in_browser[0].longrepr[2].removeprefix('Skipped: ')
        terminalreporter.write_line(f'The page was not tested in a browser: {reason}')
    if skipped and os.environ.get('CI'):
        terminalreporter.write_line(
            f'Failed: {len(skipped)} skipped, and with CI set nothing may be. Reasons are above.'
        )


def pytest_sessionfinish(session, exitstatus):
    """With CI set, a skipped test is a failure: there nobody reads what was not tested."""
    reporter = session.config.pluginmanager.get_plugin('terminalreporter')
    if reporter is None:  # one of several processes: the one that started them reports
        return
    if os.environ.get('CI') and exitstatus == 0 and reporter.stats.get('skipped'):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""The arguments of the comparison of one process with several."""

import pytest


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--batch-size', 3], '--batch-size must be a multiple of --processes times --accumulate'),
        (['--accumulate', 4], 'must be a multiple'),
        (['--steps', 0], 'all numbers must be at least 1'),
    ],
)
def test_numbers_that_do_not_fit_are_errors_of_the_command_line(run_tool, arguments, expected):
    status, _, errors = run_tool('compare_processes.py', 'mini/sam_mini.py', *arguments)
    assert status == 2 and expected in errors

"""dev/load_server.py with a server of its own."""

import pytest


@pytest.mark.slow
def test_two_users_are_answered_as_each_is_alone(run_tool):
    pytest.importorskip('fastapi', reason="no FastAPI: pip install 'mmovsam[test]'")
    arguments = ('--users', 2, '--seconds', 5, '--think', 0.01)
    status, out, err = run_tool('load_server.py', *arguments)
    assert not status and 'answers unlike those alone, or none: 0' in out, err
    assert '/prompt' in out and 'MB at the start' in out

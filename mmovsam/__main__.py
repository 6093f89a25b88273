"""`python -m mmovsam` is the command `mmovsam`."""

from mmovsam_command import main

main()

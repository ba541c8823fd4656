#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""As upgrade_killed.py, with a death at each stop."""
import lab
import upgrade_killed

upgrade_killed.STEPS = 1 << 30

lab.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""death_calls.py, with a round for every place."""
import os

os.environ["CALLS"] = "all"
# pylint: disable=wrong-import-position,unused-import
import death_calls
import lab

lab.main()

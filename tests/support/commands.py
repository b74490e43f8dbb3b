"""The console scripts by name."""

import configparser

from support.paths import ROOT

CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
COMMANDS = dict(
    line.split(" = ") for line in CONFIG["options.entry_points"]["console_scripts"].split("\n")[1:]
)

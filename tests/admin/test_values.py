"""Values that an administrator is shown."""

import json
from pathlib import Path

import pytest

from rendezvous.admin.operations import in_words
from rendezvous.config import load
from rendezvous.settings import SETTINGS, Setting
from tests.test_docs import entry_of


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_settings_in_words(setting: Setting, tmp_path: Path) -> None:
    """A value is shown as it may be given: read again it is the same, for defaults and documented examples."""
    example = entry_of(setting).lines["Example"].strip("`").replace("=", " ", not setting.flag).split(" ", 1)[1]
    defaults = load("both", {}, directory=tmp_path, environ={})
    for value in (setting.parse(example), getattr(defaults, setting.name)):
        shown = in_words(value)
        assert setting.parse(shown) == value
        assert json.loads(json.dumps(shown)) == shown

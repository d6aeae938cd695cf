"""Bounds of the inspector of an agent, beside its keys."""

from typing import Final

from pico_tunnel.limit_rows.row import Rows

ROWS: Final[Rows] = {
    "Of the inspector": (
        (
            "work of a search for credentials in one turn",
            "{agent.inspector.searching.SEARCH_TURN_BYTES} bytes",
            "the search goes on in the next turn",
            "a long body holds up no request",
        ),
        (
            "one credential that stands behind a name",
            "{agent.inspector.redaction.MAX_VALUE_BYTES} bytes",
            "the body is not kept",
            "looking for its end is one step",
        ),
        (
            "a body that is shown before it was searched",
            "its first {agent.inspector.captured_request.MAX_LIVE_BYTES} bytes",
            "the rest is shown later",
            "it is searched for each viewer",
        ),
        (
            "credentials of one exchange that are hidden everywhere in it",
            "{agent.inspector.redaction.MAX_VALUES}",
            "further ones are hidden by their names only",
            "each costs a pass over both bodies",
        ),
        (
            "names of credentials in one body",
            "{agent.inspector.redaction.MAX_NAMES}",
            "the body is not recorded",
            "looking at each takes a microsecond or two",
        ),
        (
            "name of a part of a form, up to the word that makes it a credential's",
            "{agent.inspector.redaction.MAX_NAME_BYTES} bytes",
            "the part does not count as a credential",
            "names are shorter",
        ),
        (
            "content codings of one body",
            "{agent.inspector.decoding.MAX_CODINGS}",
            "the body is not kept",
            "a body has one",
        ),
        (
            "texts, lists and objects in one credential",
            "{agent.inspector.redaction.MAX_PARTS}",
            "the body is not recorded",
            "looking for its end is one step",
        ),
        (
            "a body that the page shows",
            "{agent.inspector.bodies.MAX_SHOWN_BYTES} bytes, {agent.inspector.bodies.MAX_SHOWN_PAIRS} pairs of a form",
            "the rest can be saved",
            "a browser shows no more without delay",
        ),
        (
            "a body in a command for a shell",
            "{agent.inspector.views.MAX_INLINE_BYTES} bytes",
            "the command names a file",
            "shells take arguments of 128 KiB",
        ),
        (
            "a body in an archive",
            "{agent.inspector.har.MAX_ARCHIVED_BYTES} bytes",
            "it is cut, and the entry says so",
            "the archive is made in memory at once",
        ),
        ("rows of the list", "{agent.inspector.pages.MAX_ROWS}", "the last ones are told", "a longer page is slow"),
        (
            "a filter",
            "{agent.inspector.filters.MAX_FILTER_CHARACTERS} characters",
            "400",
            "people type a line",
        ),
        (
            "an edited request",
            "{agent.inspector.replaying.MAX_EDIT_BYTES} bytes as JSON",
            "413",
            "people edit texts; a body that is sent again as it was does not count",
        ),
        (
            "replays in flight",
            "{agent.inspector.pages.MAX_REPLAYS}, {agent.inspector.far_end.REPLAY_TIMEOUT_S:g} s each",
            "503; the response is cut",
            "a person sends one, and some responses never end",
        ),
    ),
}

"""What makes a stand appear in Home Assistant: discovery messages of its sensors.

See https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from edgeleuk.fleet.messages import EVENTS, HEARTBEAT, OFFLINE, ONLINE, STATUS, SUMMARY
from edgeleuk.version import __version__

if TYPE_CHECKING:
    from edgeleuk.fleet.address import Broker

# What Home Assistant says when it has come up.
BIRTH = "online"
_SHARE = (
    "{{ (value_json.%(name)s.share * 100) | round(1) if value_json.%(name)s.share is not none else none }}"
)
_MEASURED = {"state_class": "measurement"}
# By its id: of which topic, and what is said of it. Counts stay after the run; the heartbeat goes with it.
_SENSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "cells": (
        SUMMARY,
        {"name": "Cells", "value_template": "{{ value_json.cells.unique }}", "icon": "mdi:circle-multiple"},
    ),
    "blast_share": (
        SUMMARY,
        {
            "name": "Blasts of lymphoid cells",
            "value_template": _SHARE % {"name": "blast_share"},
            "unit_of_measurement": "%",
            "attributes": "{{ value_json.blast_share | tojson }}",
            "icon": "mdi:percent",
        },
    ),
    "blasts_of_white_cells": (
        SUMMARY,
        {
            "name": "Blasts of white cells",
            "value_template": _SHARE % {"name": "differential.blasts_of_white_cells"},
            "unit_of_measurement": "%",
            "attributes": "{{ value_json.differential.blasts_of_white_cells | tojson }}",
            "icon": "mdi:percent",
        },
    ),
    "uncertain": (
        SUMMARY,
        {
            "name": "Uncertain cells",
            "value_template": "{{ value_json.cells.uncertain }}",
            "attributes": "{{ value_json.cells.uncertain_by_reason | tojson }}",
            "icon": "mdi:help-circle",
        },
    ),
    "frames": (
        SUMMARY,
        {
            "name": "Frames",
            "value_template": "{{ value_json.frames.processed }}",
            "icon": "mdi:image-multiple",
        },
    ),
    "rejected_share": (
        SUMMARY,
        {
            "name": "Rejected frames",
            "value_template": "{{ (value_json.rejected_share * 100) | round(1)"
            " if value_json.rejected_share is not none else none }}",
            "unit_of_measurement": "%",
            "attributes": "{{ value_json.frames.rejected_by_reason | tojson }}",
            "icon": "mdi:image-off",
        },
    ),
    "latency": (
        SUMMARY,
        {
            "name": "Latency (95 % of frames)",
            "value_template": "{{ value_json.latency_ms.p95 | round(1)"
            " if value_json.latency_ms.p95 is not none else none }}",
            "unit_of_measurement": "ms",
            "device_class": "duration",
        },
    ),
    "silence": (
        HEARTBEAT,
        {
            "name": "Time without a frame",
            "value_template": "{{ value_json.silent_s | round(0)"
            " if value_json.silent_s is not none else none }}",
            "unit_of_measurement": "s",
            "device_class": "duration",
        },
    ),
    "waiting": (
        HEARTBEAT,
        {
            "name": "Messages waiting",
            "value_template": "{{ value_json.waiting }}",
            "entity_category": "diagnostic",
            "icon": "mdi:tray-full",
        },
    ),
    "disk_free": (
        HEARTBEAT,
        {
            "name": "Free disk",
            "value_template": "{{ value_json.disk_free_bytes }}",
            "unit_of_measurement": "B",
            "device_class": "data_size",
            "entity_category": "diagnostic",
        },
    ),
}


def birth_topic(broker: Broker) -> str:
    """Return where Home Assistant says that it has come up."""
    return f"{broker.discovery}/{STATUS}"


def discovery(broker: Broker, *, simulated: bool) -> dict[str, bytes]:
    """Return the discovery messages of a stand by their topics; none where they are not wanted.

    Parameters
    ----------
    broker : Broker
    simulated : bool
        Whether the pictures are drawn: the device's name says so.
    """
    if not broker.discovery:
        return {}
    node = node_of(broker.prefix)
    common = {
        "~": broker.prefix,
        "device": {
            "identifiers": [node],
            "name": broker.prefix.rpartition("/")[2] + (" SIMULATED" if simulated else ""),
            "manufacturer": "edgeleuk",
            "model": "blood smear counter, for research use only",
            "sw_version": __version__,
        },
        "origin": {"name": "edgeleuk", "sw_version": __version__},
        "qos": 1,
    }
    availability = {
        "availability_topic": f"~/{STATUS}",
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
    }
    found: dict[str, dict[str, Any]] = {
        f"{broker.discovery}/binary_sensor/{node}/running/config": {
            "name": "Running",
            "state_topic": f"~/{STATUS}",
            "payload_on": ONLINE,
            "payload_off": OFFLINE,
            "device_class": "running",
            **_named(node, "running"),
        },
        f"{broker.discovery}/sensor/{node}/last_event/config": {
            "name": "Last event",
            "state_topic": f"~/{EVENTS}",
            "value_template": "{{ value_json.kind }}",
            "json_attributes_topic": f"~/{EVENTS}",
            "icon": "mdi:text-box",
            **_named(node, "last_event"),
        },
    }
    for name, (topic, said) in _SENSORS.items():
        facts = dict(said)
        attributes = facts.pop("attributes", None)
        if attributes is not None:
            facts |= {"json_attributes_topic": f"~/{topic}", "json_attributes_template": attributes}
        found[f"{broker.discovery}/sensor/{node}/{name}/config"] = {
            **facts,
            **_MEASURED,
            **(availability if topic == HEARTBEAT else {}),
            "state_topic": f"~/{topic}",
            **_named(node, name),
        }
    return {topic: json.dumps({**common, **facts}).encode() for topic, facts in found.items()}


def node_of(prefix: str) -> str:
    """Return a stand's name as discovery topics may hold it.

    Examples
    --------
    >>> node_of("lab/stand 3")
    'edgeleuk_lab_stand_3'
    """
    return "edgeleuk_" + re.sub(r"[^A-Za-z0-9_-]", "_", prefix)


def _named(node: str, name: str) -> dict[str, str]:
    return {"unique_id": f"{node}_{name}"}

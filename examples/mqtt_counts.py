"""Send counts to an MQTT broker: ``mqtt_counts.py HOST PORT URI`` (pip install paho-mqtt)."""

from __future__ import annotations

import json
import sys

import paho.mqtt.client as mqtt

import edgeleuk


def main(host: str, port: str = "1883", uri: str = "virtual://?seed=1&frames=3") -> None:
    """Publish one JSON object for each frame on ``edgeleuk/counts``."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect(host, int(port))
    client.loop_start()
    for frame in edgeleuk.watch(uri):
        message = {"frame": frame.sequence, **frame.counts.to_json()}
        client.publish("edgeleuk/counts", json.dumps(message), qos=1).wait_for_publish(10)
        print(message)
    client.loop_stop()
    client.disconnect()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One connection to a broker, and in one sentence why there is none.

A connection that is lost is not mended but replaced: what the library would send again by itself is sent by
who keeps it, and nothing of an old connection is left.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import BrokerError
from edgeleuk.fleet.address import PASSWORD, trust_of
from edgeleuk.io.closing import Closing
from edgeleuk.io.console import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import Client, MQTTMessage

    from edgeleuk.fleet.address import Broker

# A connection that says nothing for one and a half times as long is gone, for both sides.
KEEP_ALIVE_S = 30
CONNECT_WITHIN_S = 5.0
_WELCOME_WITHIN_S = 10.0
_STEP_S = 0.1
_REFUSED = {
    "Bad user name or password": "the password or the user is not the broker's",
    "Not authorized": "the broker does not let this user in",
}


class Will:
    """What the broker says for a client that is gone."""

    def __init__(self, topic: str, payload: str) -> None:
        self.topic = topic
        self.payload = payload


class Connection(Closing):
    """A broker that has said welcome; used from one thread.

    Parameters
    ----------
    broker : Broker
    client : str
        A name by which the broker tells clients apart; a second one of its name ends the first.
    will : Will, optional
        Kept by the broker, as all clients of that topic are to know.
    hears : callable, optional
        Given topic and payload of what comes from the topics of `hear`.

    Attributes
    ----------
    acknowledged : list of str
        Keys of messages that have arrived since somebody emptied it.

    Raises
    ------
    BrokerError
        It cannot be reached, is not trusted, or refuses.
    """

    def __init__(
        self,
        broker: Broker,
        client: str,
        will: Will | None = None,
        hears: Callable[[str, bytes], None] | None = None,
    ) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._broker = broker
        self._welcome: Any = None
        self._keys: dict[int, str] = {}
        self._hears = hears
        self.acknowledged: list[str] = []
        self._client: Client = Client(CallbackAPIVersion.VERSION2, client, reconnect_on_failure=False)
        self._client.connect_timeout = CONNECT_WITHIN_S
        # How many are on their way is decided by who hands them over.
        self._client.max_inflight_messages = 0
        self._client.on_connect = self._welcomed
        self._client.on_publish = self._arrived
        self._client.on_message = self._heard
        if broker.user is not None:
            self._client.username_pw_set(broker.user, broker.password)
        if broker.secure:
            self._client.tls_set_context(trust_of(broker))
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        self._open()

    def publish(self, topic: str, payload: bytes, *, key: str | None = None, retain: bool = False) -> None:
        """Send a message; with a key it has to arrive, and `acknowledged` will tell of it."""
        info = self._client.publish(topic, payload, qos=1 if retain or key is not None else 0, retain=retain)
        if key is not None:
            self._keys[info.mid] = key

    def hear(self, topic: str) -> None:
        """Let the broker send what is said on a topic from now on."""
        self._client.subscribe(topic, qos=1)

    def attend(self, wait_s: float) -> None:
        """Send and receive for a moment.

        Raises
        ------
        BrokerError
            The connection is lost.
        """
        code = self._client.loop(wait_s)
        if code != 0:
            raise BrokerError(f"the connection to {self._broker.name} is lost")

    def close(self) -> None:
        """End the connection in order: its will is not told."""
        self._client.on_publish = None
        self._client.disconnect()
        # The last words are still to be written.
        while self._client.loop(_STEP_S) == 0 and self._client.want_write():
            pass

    def abandon(self) -> None:
        """Let go of a connection that is gone."""
        self._client.on_publish = None
        found: Any = self._client.socket()
        if found is not None:
            found.close()

    def _open(self) -> None:
        broker = self._broker
        try:
            self._client.connect(broker.host, broker.port, KEEP_ALIVE_S)
        except (OSError, ValueError) as error:
            raise unreachable(broker, error) from error
        for _ in range(round(_WELCOME_WITHIN_S / _STEP_S)):
            code = self._client.loop(_STEP_S)
            if self._welcome is not None or code != 0:
                break
        if self._welcome is None:
            self.abandon()
            raise BrokerError(
                f"{broker.name} does not answer as a broker",
                cure="see that it speaks MQTT on that port, and whether it asks for TLS (mqtts://) or for a"
                " client's certificate (mqtt_cert)",
            )
        if self._welcome.is_failure:
            self.abandon()
            raise refused(broker, str(self._welcome))

    def _welcomed(self, client: Client, userdata: object, flags: object, reason: Any, more: object) -> None:
        del client, userdata, flags, more
        self._welcome = reason

    def _arrived(self, client: Client, userdata: object, number: int, reason: object, more: object) -> None:
        del client, userdata, reason, more
        key = self._keys.pop(number, None)
        if key is not None:
            self.acknowledged.append(key)

    def _heard(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        del client, userdata
        if self._hears is not None:
            self._hears(message.topic, bytes(message.payload))


def client_name(prefix: str, role: str) -> str:
    """Return a client's name: a stand that comes back takes the place of its old connection.

    Examples
    --------
    >>> client_name("lab/stand3", "run")
    'edgeleuk-run-2c704555'
    """
    return f"edgeleuk-{role}-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}"


def unreachable(broker: Broker, error: Exception) -> BrokerError:
    """Say why a broker cannot be reached."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerError(
            f"the certificate of {broker.name} is not trusted",
            got=error.verify_message,
            cure="set mqtt_ca to the file of the authority that signed it, and use the host's name in it",
        )
    if isinstance(error, ssl.SSLError):
        return BrokerError(
            f"{broker.name} does not speak TLS with this machine",
            got=error.reason or str(error),
            cure="see which port has TLS, and whether the broker asks for a client's certificate (mqtt_cert)",
        )
    if isinstance(error, socket.gaierror):
        return BrokerError(
            f"there is no host {printable(broker.host)}", cure="check the broker's name, and the network"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return BrokerError(
        f"{broker.name} cannot be reached", got=reason, cure="check that the broker runs, and the network"
    )


def refused(broker: Broker, reason: str) -> BrokerError:
    """Say why a broker refuses."""
    user = "without a user" if broker.user is None else f"as {printable(broker.user)}"
    cure = f"check the user, and the password in mqtt_password_file or {PASSWORD}"
    return BrokerError(
        f"{broker.name} refuses this stand {user}", got=_REFUSED.get(reason, reason.lower()), cure=cure
    )

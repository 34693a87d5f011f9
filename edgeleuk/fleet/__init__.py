"""Tells a fleet's broker what a stand counts: messages from its session, again after every outage."""

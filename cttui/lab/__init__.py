"""Experiments: tales, their runner, packets in scapy notation."""

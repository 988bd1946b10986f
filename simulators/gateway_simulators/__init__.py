"""The other end of every socket: a spacecraft, a station, bad weather. Imports codecs and config only."""

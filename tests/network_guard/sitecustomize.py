"""Imported by every Python process that has this folder on its path: records and refuses connections and installers.

Each attempt is one line in the file that GUARD_RECORD names. Connections within this machine are allowed.
"""

import os
import socket
import subprocess

_RECORD = os.environ["GUARD_RECORD"]
_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None, socket.gethostname())
_INSTALLERS = ("pip", "uv", "apt", "apt-get", "sudo", "curl", "wget", "conda")


def _refuse(what):
    with open(_RECORD, "a", encoding="utf-8") as file:
        file.write(f"{what}\n")
    raise OSError(f"refused by the guard of the tests: {what}")


def _is_here(host):
    return (host.decode() if isinstance(host, bytes) else host) in _HERE


class _Socket(socket.socket):
    def connect(self, address):
        if self.family != getattr(socket, "AF_UNIX", None) and not _is_here(address[0]):
            _refuse(f"connect {address}")
        return super().connect(address)

    def connect_ex(self, address):
        if self.family != getattr(socket, "AF_UNIX", None) and not _is_here(address[0]):
            _refuse(f"connect {address}")
        return super().connect_ex(address)


_getaddrinfo, _popen, _system = socket.getaddrinfo, subprocess.Popen.__init__, os.system


def _guarded_getaddrinfo(host, *args, **kwargs):
    if not _is_here(host):
        _refuse(f"getaddrinfo {host}")
    return _getaddrinfo(host, *args, **kwargs)


def _guarded_popen(self, args, *more, **kwargs):
    text = args if isinstance(args, str) else " ".join(map(str, args))
    words = [os.path.basename(word) for word in text.split()]
    if any(word in _INSTALLERS for word in words[:3]):
        _refuse(f"start {text}")
    return _popen(self, args, *more, **kwargs)


def _guarded_system(command):
    if any(word in _INSTALLERS for word in command.split()[:3]):
        _refuse(f"start {command}")
    return _system(command)


socket.socket, socket.getaddrinfo = _Socket, _guarded_getaddrinfo
subprocess.Popen.__init__, os.system = _guarded_popen, _guarded_system

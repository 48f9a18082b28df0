"""What can go wrong with a phone, each by its own name."""

from dreamlite_mobile.errors import DreamLiteError


class DeviceError(DreamLiteError):
    """Something about the phone or the way to it."""


class AdbServerError(DeviceError):
    """No adb server can be reached or started."""


class NoPhoneError(DeviceError):
    """No phone is attached, or not the one that was named."""


class SeveralPhonesError(DeviceError):
    """Several phones are attached and none was named."""


class UnauthorizedError(DeviceError):
    """The phone has not allowed this computer to debug it."""


class OfflineError(DeviceError):
    """The phone is known to adb but does not answer."""


class PhoneBusyError(DeviceError):
    """Another benchmark uses the phone."""


class LinkLostError(DeviceError):
    """The connection ended or fell silent in the middle of something."""


class CommandError(DeviceError):
    """A command on the phone failed."""


class WrongPhoneError(DeviceError):
    """The bundle was compiled for another chip or platform."""


class StorageFullError(DeviceError):
    """The phone has too little free storage."""


class DigestError(DeviceError):
    """A file on the phone is not the one that was sent."""


class AppMissingError(DeviceError):
    """The app that runs the benchmark is not installed."""


class AppCrashError(DeviceError):
    """The app ended before it was done."""


class AppTimeoutError(DeviceError):
    """The app did not finish in time."""


class AppRefusedError(DeviceError):
    """The app could not do what it was asked and said why."""


class RunnerError(DeviceError):
    """The runner binary failed, or what it printed cannot be read."""


class ResultError(DeviceError):
    """A result that is damaged, contradicts itself or answers something else."""


class ClockError(DeviceError):
    """The phone's times cannot be true."""


class WrongPictureError(DeviceError):
    """The phone's picture is too far from the host's."""

    exit_code = 3


class GateError(DeviceError):
    """A latency over its limit."""

    exit_code = 3


class RegressionError(DeviceError):
    """Significantly slower than the benchmark it is compared with."""

    exit_code = 3

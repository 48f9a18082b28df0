"""An Android phone for tests: the device side of the adb wire protocol on a loopback port, for a real adb server.

`wire` packets, `daemon` connections and streams, `shell_service` and `sync_service` the two services, `shell` a small
command interpreter, `commands` the toybox ones, `android` getprop, dumpsys, am, pm and logcat, `storage` the file
system, `faults` what may go wrong, `app` the benchmark entry of the app, `runner` a runner binary, `phone` all of it.
"""

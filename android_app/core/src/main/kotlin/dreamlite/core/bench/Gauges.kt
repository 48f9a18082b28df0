package dreamlite.core.bench

import dreamlite.core.Picture
import java.nio.file.Path

/** What a phone can be asked while it is measured. Null where it does not say. */
public interface Gauges {
    /** A clock that never jumps and goes on while the phone sleeps: `SystemClock.elapsedRealtimeNanos`. */
    public fun monotonicNanos(): Long

    /** The time of day, milliseconds since 1970. */
    public fun wallMillis(): Long

    /** Heat, cable and battery now. */
    public fun conditions(): Conditions

    /** The clock of each CPU policy in kHz. */
    public fun cpuKhz(): List<Long>?

    /** Memory of this process (PSS). May take tens of milliseconds, so it is not asked inside of timed runs. */
    public fun pssBytes(): Long?

    /** Bytes that can still be taken before the phone ends processes. */
    public fun availableBytes(): Long
}

/** Pictures in files, as the platform reads and writes them. */
public interface PictureFiles {
    /** An upright RGB picture. ImageException or IOException where the file is none. */
    public fun read(file: Path): Picture

    /** The whole bytes of a PNG, lossless. */
    public fun png(picture: Picture): ByteArray
}

package dreamlite.app.model

/** `PowerManager`'s thermal status, 0 none to 6 shutdown, and when a run waits for the phone to cool down. */
object Heat {
    const val SEVERE = 3
    const val CRITICAL = 4

    /** Stops at critical and goes on only below severe, so that it does not flutter. */
    fun waits(waiting: Boolean, status: Int): Boolean = if (waiting) status >= SEVERE else status >= CRITICAL
}

/** `onTrimMemory`'s levels. */
object Trim {
    private const val RUNNING_LOW = 10
    private const val UI_HIDDEN = 20

    /** Whether components are freed: not for a mild hint, and not merely because the screen went away. */
    fun frees(level: Int): Boolean = level >= RUNNING_LOW && level != UI_HIDDEN
}

/** Names of bundles in the app from names of folders and zips. */
object Names {
    private const val MOST = 60
    private const val FALLBACK = "bundle"

    fun of(file: String, taken: Collection<String>): String {
        val plain = file.substringAfterLast('/').removeSuffix(".zip").map { if (it.isNameLetter()) it else '-' }.joinToString("")
        val base = plain.trim('-').take(MOST - 4).ifEmpty { FALLBACK }
        return generateSequence(1) { it + 1 }.map { if (it == 1) base else "$base-$it" }.first { it !in taken }
    }

    private fun Char.isNameLetter() = this in 'a'..'z' || this in 'A'..'Z' || this in '0'..'9' || this == '_' || this == '-'
}

/** A bundle against the phone, in bytes; shown before and while it is copied. */
data class Room(val bytes: Long, val freeStorage: Long, val memory: Long, val totalMemory: Long)

/** How numbers are shown. */
object Shown {
    private const val KILO = 1000.0

    /** Three digits that count and a unit, as storage is sold: `1.23 GB`. */
    fun bytes(bytes: Long): String {
        var value = bytes.toDouble()
        val unit = listOf("B", "kB", "MB", "GB", "TB").firstOrNull { unit ->
            (value < KILO - 0.5 || unit == "TB").also { fits -> if (!fits) value /= KILO }
        }
        val digits = when {
            bytes < KILO || value >= 99.95 -> 0
            value >= 9.995 -> 1
            else -> 2
        }
        return "%.${digits}f %s".format(java.util.Locale.ROOT, value, unit)
    }

    fun seconds(seconds: Double): String = when {
        seconds < 1 -> "%.0f ms".format(java.util.Locale.ROOT, seconds * KILO)
        seconds < 100 -> "%.1f s".format(java.util.Locale.ROOT, seconds)
        else -> "%.0f s".format(java.util.Locale.ROOT, seconds)
    }
}

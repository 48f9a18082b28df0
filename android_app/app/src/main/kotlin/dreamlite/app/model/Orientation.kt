package dreamlite.app.model

import dreamlite.core.Picture

/** How a photo lies, as EXIF's tag 274 says: what is stored is mirrored if [mirrored], then turned right by [turns] quarters. */
enum class Orientation(val exif: Int, val turns: Int, val mirrored: Boolean) {
    UPRIGHT(1, 0, false),
    MIRRORED(2, 0, true),
    HALF(3, 2, false),
    MIRRORED_HALF(4, 2, true),
    MIRRORED_LEFT(5, 3, true),
    RIGHT(6, 1, false),
    MIRRORED_RIGHT(7, 1, true),
    LEFT(8, 3, false),
    ;

    /** The picture as it was seen. */
    fun upright(stored: Picture): Picture {
        if (this == UPRIGHT) return stored
        val (w, h) = stored.width to stored.height
        val (width, height) = if (turns % 2 == 0) w to h else h to w
        val rgb = ByteArray(stored.rgb.size)
        for (y in 0 until height) {
            for (x in 0 until width) {
                val (across, down) = when (turns) {
                    0 -> x to y
                    1 -> y to h - 1 - x
                    2 -> w - 1 - x to h - 1 - y
                    else -> w - 1 - y to x
                }
                val from = 3 * (down * w + if (mirrored) w - 1 - across else across)
                stored.rgb.copyInto(rgb, 3 * (y * width + x), from, from + 3)
            }
        }
        return Picture(width, height, rgb)
    }

    companion object {
        /** Files without the tag, or with a value that does not exist, are upright. */
        fun of(exif: Int): Orientation = entries.firstOrNull { it.exif == exif } ?: UPRIGHT
    }
}

/** By which power of two a photo is made smaller while it is read, so that its longer side has at least [wanted] pixels. */
fun sampling(width: Int, height: Int, wanted: Int): Int {
    var factor = 1
    while (maxOf(width, height) / (2 * factor) >= wanted) factor *= 2
    return factor
}

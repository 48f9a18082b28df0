package dreamlite.core

import java.math.BigInteger

/** Width and height of a picture in pixels; as text `512x768`. */
public data class PictureSize(val width: Int, val height: Int) {
    override fun toString(): String = "${width}x$height"

    /** What the methods of this size are called after their mode or [FORWARD]: nothing for the bundle's [first] size. */
    public fun suffix(first: PictureSize): String = if (this == first) "" else "_$this"

    public companion object {
        private val TEXT = Regex("([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")

        /** Null for anything but a size as it is written. */
        public fun parse(text: String): PictureSize? = TEXT.matchEntire(text)?.destructured?.let { (width, height) ->
            PictureSize(width.toInt(), height.toInt())
        }
    }
}

/**
 * The size whose ratio of width to height is nearest to that of a [picture]; the earlier one of two equally near. The
 * exporter's `images.nearest_shape`, as exact: of two ratios a and b the larger of a/b and b/a tells how far they are apart.
 */
public fun List<PictureSize>.nearestShape(picture: PictureSize): PictureSize = minWith { one, other ->
    val (a, b) = one.stretch(picture) to other.stretch(picture)
    (a.first * b.second).compareTo(b.first * a.second)
}

/** How much a picture is stretched along one side of this size more than along the other: numerator and denominator, at least 1. */
private fun PictureSize.stretch(picture: PictureSize): Pair<BigInteger, BigInteger> {
    val across = width.toBigInteger() * picture.height.toBigInteger()
    val down = height.toBigInteger() * picture.width.toBigInteger()
    return maxOf(across, down) to minOf(across, down)
}

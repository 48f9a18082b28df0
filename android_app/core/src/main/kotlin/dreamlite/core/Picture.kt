package dreamlite.core

import java.nio.FloatBuffer
import kotlin.math.PI
import kotlin.math.sin

/** An upright RGB picture: [rgb] holds width * height * 3 bytes, row by row. The app applies EXIF before. */
public class Picture(public val width: Int, public val height: Int, public val rgb: ByteArray) {
    init {
        if (width < 1 || height < 1 || rgb.size.toLong() != 3L * width * height) {
            throw ImageException("picture: ${rgb.size} bytes for ${width}x$height; three for each pixel are expected")
        }
    }

    public val size: PictureSize get() = PictureSize(width, height)

    /** Refuses a source picture that is too small or too large to edit. */
    public fun checkSource() {
        if (minOf(width, height) <
            MIN_SIDE
        ) {
            throw ImageException("picture: ${width}x$height px is too small; sides from $MIN_SIDE px are supported")
        }
        if (maxOf(width, height) >
            MAX_SIDE
        ) {
            throw ImageException(
                "picture: ${width}x$height px is too large; sides up to $MAX_SIDE px are supported; make it smaller first",
            )
        }
    }

    /**
     * Resized with LANCZOS, equal to the exporter's (Pillow 13's 8-bit resampling) bit for bit. Values are rounded and
     * clipped between the two passes, so their order matters: columns first where the height shrinks by more than twice
     * what the width does, else rows first.
     */
    public fun resized(width: Int, height: Int): Picture {
        val columnsFirst = this.height > height && this.height - height > 2 * (this.width - width)
        return if (columnsFirst) tall(height).wide(width) else wide(width).tall(height)
    }

    private fun wide(width: Int) = if (width == this.width) this else pass(Weights(this.width, width), horizontal = true)

    private fun tall(height: Int) = if (height == this.height) this else pass(Weights(this.height, height), horizontal = false)

    /** One axis: each target value is a weighted sum of source values in fixed point, rounded to 8 bits. */
    private fun pass(weights: Weights, horizontal: Boolean): Picture {
        val (w, h) = if (horizontal) weights.size to height else width to weights.size
        val step = CHANNELS * if (horizontal) 1 else width
        val out = ByteArray(CHANNELS * w * h)
        var at = 0
        for (y in 0 until h) {
            for (x in 0 until w) {
                val target = if (horizontal) x else y
                val first = CHANNELS * if (horizontal) y * width + weights.first[target] else weights.first[target] * width + x
                val row = weights.rows[target]
                for (channel in 0 until CHANNELS) {
                    var sum = 1 shl Weights.BITS - 1
                    for (index in row.indices) sum += row[index] * (rgb[first + channel + index * step].toInt() and BYTE)
                    out[at++] = (sum shr Weights.BITS).coerceIn(0, BYTE).toByte()
                }
            }
        }
        return Picture(w, h, out)
    }

    /** For the VAE encoder: resized, [1, 3, height, width] in [-1, 1], written from the start of [target]. */
    public fun toCondition(width: Int, height: Int, target: FloatBuffer) {
        val source = resized(width, height).rgb
        val plane = width * height
        for (channel in 0 until CHANNELS) {
            for (pixel in 0 until plane) {
                val value = (source[pixel * CHANNELS + channel].toInt() and BYTE).toFloat()
                target.put(channel * plane + pixel, value / 255f * 2f - 1f)
            }
        }
    }

    /** For the vision tower: patches in merge order [grid/m, grid/m, m, m], each [channel, row, column], normalised. */
    public fun toPatches(vision: VisionEntry, target: FloatBuffer) {
        val side = vision.pictureSize
        val source = resized(side, side).rgb
        val (patch, merge) = vision.patchSize to vision.mergeSize
        val mean = FloatArray(CHANNELS) { vision.mean[it].toFloat() * 255f }
        val std = FloatArray(CHANNELS) { vision.std[it].toFloat() * 255f }
        val blocks = vision.grid / merge
        var at = 0
        for (token in 0 until vision.numPatches) {
            val (block, inside) = token / (merge * merge) to token % (merge * merge)
            val top = (block / blocks * merge + inside / merge) * patch
            val left = (block % blocks * merge + inside % merge) * patch
            for (channel in 0 until CHANNELS) {
                for (y in top until top + patch) {
                    for (x in left until left + patch) {
                        val value = (source[(y * side + x) * CHANNELS + channel].toInt() and BYTE).toFloat()
                        target.put(at++, (value - mean[channel]) / std[channel])
                    }
                }
            }
        }
    }

    public companion object {
        public const val MIN_SIDE: Int = 16
        public const val MAX_SIDE: Int = 16_384
        private const val CHANNELS = 3
        private const val BYTE = 0xFF
        private const val ROUNDER = 12_582_912f

        /**
         * What the VAE decoder gives, [1, 3, height, width] in about [-1, 1], as a picture; values outside are clipped.
         *
         * @throws ImageException NaN or infinity inside.
         */
        public fun of(image: FloatBuffer, width: Int, height: Int): Picture {
            val plane = width * height
            val rgb = ByteArray(CHANNELS * plane)
            val row = FloatArray(width)
            val source = image.duplicate().apply { clear() }
            for (y in 0 until height) {
                for (channel in 0 until CHANNELS) {
                    source.position(channel * plane + y * width)
                    source.get(row)
                    interleave(row, rgb, y * width * CHANNELS + channel)
                }
            }
            return Picture(width, height, rgb)
        }

        /** One row of one channel, from [-1, 1] to bytes at every third place from [begin] on. */
        private fun interleave(row: FloatArray, rgb: ByteArray, begin: Int) {
            var at = begin
            for (value in row) {
                if (!(Math.abs(value) <= Float.MAX_VALUE)) {
                    throw ImageException("decoded picture: NaN or infinity inside; check the component with `dreamlite parity`")
                }
                val unit = value * 0.5f + 0.5f
                val clipped = when {
                    unit < 0f -> 0f
                    unit > 1f -> 1f
                    else -> unit
                }
                // adding 1.5 * 2^23 rounds to the nearest whole number, ties to even, and leaves it in the lowest bits
                rgb[at] = (clipped * 255f + ROUNDER).toRawBits().toByte()
                at += CHANNELS
            }
        }
    }
}

/** LANCZOS (three lobes) from one length to another: for each target value where it begins to read, and the weights. */
private class Weights(from: Int, val size: Int) {
    val first = IntArray(size)
    val rows: Array<IntArray>

    init {
        val scale = from.toDouble() / size
        val stretch = maxOf(scale, 1.0)
        val support = LOBES * stretch
        rows = Array(size) { target ->
            val center = (target + 0.5) * scale
            val start = maxOf((center - support + 0.5).toInt(), 0)
            val end = minOf((center + support + 0.5).toInt(), from)
            first[target] = start
            val exact = DoubleArray(end - start) { lanczos((start + it - center + 0.5) * (1.0 / stretch)) }
            fixed(exact)
        }
    }

    private fun fixed(exact: DoubleArray): IntArray {
        var sum = 0.0
        for (value in exact) sum += value
        return IntArray(exact.size) {
            val weight = if (sum != 0.0) exact[it] / sum else exact[it]
            ((if (weight < 0) -0.5 else 0.5) + weight * (1 shl BITS)).toInt()
        }
    }

    private fun lanczos(x: Double) = if (x >= -LOBES && x < LOBES) sinc(x) * sinc(x / LOBES) else 0.0

    private fun sinc(x: Double) = if (x == 0.0) 1.0 else sin(x * PI) / (x * PI)

    companion object {
        const val BITS = 22
        const val LOBES = 3.0
    }
}

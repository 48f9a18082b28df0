package dreamlite.app.model

import dreamlite.core.Picture

/**
 * A linear map from latents to RGB, for previews that cost nothing: least squares over the latents and decoded pixels of
 * finished pictures. Every checkpoint has its own latent space, so nothing fixed would do; before the first picture the
 * first three channels are shown as they are.
 *
 * The sums of the normal equations are kept, each picture weighing as much as all before it, so that one picture of one
 * colour does not spoil what was learnt.
 */
class LatentColours private constructor(private val squares: Array<DoubleArray>, private val products: Array<DoubleArray>) {
    private val weights: Array<DoubleArray> by lazy { solve() }

    /** Red, green and blue, 0 to 255, from the [CHANNELS] values that [at] gives. */
    fun colour(at: (Int) -> Float): Int {
        var argb = OPAQUE
        for (colour in 0 until COLOURS) {
            var value = weights[CHANNELS][colour]
            for (channel in 0 until CHANNELS) value += weights[channel][colour] * at(channel)
            argb = argb or (value.toInt().coerceIn(0, WHITE) shl (8 * (COLOURS - 1 - colour)))
        }
        return argb
    }

    /** What is known after one more picture, decoded from [latents] [4, h, w]. */
    fun learnt(latents: FloatArray, picture: Picture): LatentColours {
        val cells = latents.size / CHANNELS
        val scale = scaleOf(cells, picture)
        val across = picture.width / scale
        val squares = Array(ROWS) { row -> DoubleArray(ROWS) { squares[row][it] * KEPT } }
        val products = Array(ROWS) { row -> DoubleArray(COLOURS) { products[row][it] * KEPT } }
        val input = DoubleArray(ROWS) { 1.0 }
        for (cell in 0 until cells) {
            for (channel in 0 until CHANNELS) input[channel] = latents[channel * cells + cell].toDouble()
            val mean = mean(picture, cell % across * scale, cell / across * scale, scale)
            for (row in 0 until ROWS) {
                for (column in 0 until ROWS) squares[row][column] += input[row] * input[column] / cells
                for (colour in 0 until COLOURS) products[row][colour] += input[row] * mean[colour] / cells
            }
        }
        return LatentColours(squares, products)
    }

    /** One line of numbers, for [read]. */
    fun text(): String = (squares + products).joinToString(" ") { row -> row.joinToString(" ") }

    private fun mean(picture: Picture, left: Int, top: Int, scale: Int): DoubleArray {
        val sum = DoubleArray(COLOURS)
        for (y in top until top + scale) {
            for (x in left until left + scale) {
                val pixel = COLOURS * (y * picture.width + x)
                for (colour in 0 until COLOURS) sum[colour] += (picture.rgb[pixel + colour].toInt() and WHITE).toDouble()
            }
        }
        return DoubleArray(COLOURS) { sum[it] / (scale * scale) }
    }

    /** Gaussian elimination; a slight pull towards zero keeps it solvable for pictures of one colour. */
    private fun solve(): Array<DoubleArray> {
        val rows = Array(ROWS) { row -> squares[row].copyOf().also { it[row] += PULL } + products[row] }
        for (pivot in 0 until ROWS) {
            val best = (pivot until ROWS).maxBy { kotlin.math.abs(rows[it][pivot]) }
            rows[pivot] = rows[best].also { rows[best] = rows[pivot] }
            for (row in 0 until ROWS) {
                if (row == pivot) continue
                val factor = rows[row][pivot] / rows[pivot][pivot]
                for (column in pivot until ROWS + COLOURS) rows[row][column] -= factor * rows[pivot][column]
            }
        }
        return Array(ROWS) { row -> DoubleArray(COLOURS) { rows[row][ROWS + it] / rows[row][row] } }
    }

    companion object {
        const val CHANNELS = 4
        private const val COLOURS = 3
        private const val ROWS = CHANNELS + 1
        private const val WHITE = 255
        private const val OPAQUE = 0xFF shl 24
        private const val KEPT = 0.5
        private const val PULL = 1e-6
        private const val GREY = 127.5
        private const val CONTRAST = 64.0

        /** Channels 0, 1, 2 as red, green, blue. */
        val UNKNOWN: LatentColours = LatentColours(
            Array(ROWS) { row -> DoubleArray(ROWS) { if (it == row) FAINT else 0.0 } },
            Array(ROWS) { row -> DoubleArray(COLOURS) { colour -> FAINT * weight(row, colour) } },
        )
        private const val FAINT = 1e-3

        private fun weight(row: Int, colour: Int) = when (row) {
            CHANNELS -> GREY
            colour -> CONTRAST
            else -> 0.0
        }

        /** What [text] wrote; null where it is something else. */
        fun read(text: String): LatentColours? {
            val numbers = text.trim().split(' ').map { it.toDoubleOrNull()?.takeIf(Double::isFinite) ?: return null }
            if (numbers.size != ROWS * (ROWS + COLOURS)) return null
            val squares = Array(ROWS) { row -> DoubleArray(ROWS) { numbers[row * ROWS + it] } }
            return LatentColours(squares, Array(ROWS) { row -> DoubleArray(COLOURS) { numbers[ROWS * ROWS + row * COLOURS + it] } })
        }

        private fun scaleOf(cells: Int, picture: Picture): Int {
            val scale = kotlin.math.sqrt(picture.width.toDouble() * picture.height / cells).toInt()
            require(cells * scale * scale == picture.width * picture.height) { "$cells cells for ${picture.width}x${picture.height}" }
            return scale
        }
    }
}

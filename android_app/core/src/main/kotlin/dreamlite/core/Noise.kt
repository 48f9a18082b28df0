package dreamlite.core

/**
 * Initial noise that is the same on every machine: Philox 4x32-10 and Box-Muller, `dreamlite_mobile/noise.py` bit for
 * bit. Only +, -, *, / and sqrt are used on doubles, each rounded by IEEE 754.
 */
public object Noise {
    /** How manifests call this scheme. */
    public const val NAME: String = "philox4x32-10-box-muller"

    /** Standard normal noise for [seed] into all of [target]; a longer target starts with the shorter one's values. */
    public fun fill(seed: ULong, target: FloatArray) {
        val words = IntArray(WORDS)
        val block = FloatArray(WORDS)
        for (first in target.indices step WORDS) {
            philox((first / WORDS).toLong(), seed.toLong(), words)
            normals(words, block)
            block.copyInto(target, first, 0, minOf(WORDS, target.size - first))
        }
    }

    /** The four words of block [block] for a seed, as unsigned 32-bit numbers. */
    internal fun philox(block: Long, seed: Long, words: IntArray) {
        var c0 = block and LOW
        var c1 = block ushr Int.SIZE_BITS
        var c2 = 0L
        var c3 = 0L
        var k0 = seed and LOW
        var k1 = seed ushr Int.SIZE_BITS
        repeat(ROUNDS) {
            val p = FIRST * c0
            val q = SECOND * c2
            c0 = (q ushr Int.SIZE_BITS) xor c1 xor k0
            c2 = (p ushr Int.SIZE_BITS) xor c3 xor k1
            c1 = q and LOW
            c3 = p and LOW
            k0 = k0 + WEYL_0 and LOW
            k1 = k1 + WEYL_1 and LOW
        }
        words[0] = c0.toInt()
        words[1] = c1.toInt()
        words[2] = c2.toInt()
        words[3] = c3.toInt()
    }

    internal fun normals(words: IntArray, target: FloatArray) {
        for (pair in 0 until WORDS step 2) {
            val radius = Math.sqrt(-2.0 * logOfUniform(words[pair].toLong() and LOW))
            val shifted = (words[pair + 1].toLong() + EIGHTH) and LOW
            val angle = ((shifted and QUARTER - 1).toDouble() - EIGHTH.toDouble() + 0.5) * ANGLE_UNIT
            val sine = angle * horner(SIN_TERMS, angle * angle)
            val cosine = horner(COS_TERMS, angle * angle)
            val quadrant = (shifted ushr 30).toInt()
            target[pair] = (radius * pick(quadrant, cosine, -sine, -cosine, sine)).toFloat()
            target[pair + 1] = (radius * pick(quadrant, sine, cosine, -sine, -cosine)).toFloat()
        }
    }

    private fun pick(quadrant: Int, a: Double, b: Double, c: Double, d: Double) = when (quadrant) {
        0 -> a
        1 -> b
        2 -> c
        else -> d
    }

    /** ln((word + 0.5) / 2^32). */
    private fun logOfUniform(word: Long): Double {
        val uniform = (word.toDouble() + 0.5) * WORD_UNIT
        var exponent = Math.getExponent(uniform) + 1
        var mantissa = Math.scalb(uniform, -exponent)
        if (mantissa < SQRT_HALF) {
            mantissa *= 2.0
            exponent--
        }
        val ratio = (mantissa - 1.0) / (mantissa + 1.0)
        return exponent * LN_2 + (ratio + ratio) * horner(LOG_TERMS, ratio * ratio)
    }

    private fun horner(terms: DoubleArray, x: Double): Double {
        var total = terms.last()
        for (index in terms.size - 2 downTo 0) total = total * x + terms[index]
        return total
    }

    private fun factorial(n: Int) = (2..n).fold(1.0) { product, factor -> product * factor }

    private fun sign(index: Int) = if (index % 2 == 0) 1.0 else -1.0

    private const val WORDS = 4
    private const val ROUNDS = 10
    private const val LOW = 0xFFFFFFFFL
    private const val FIRST = 0xD2511F53L
    private const val SECOND = 0xCD9E8D57L
    private const val WEYL_0 = 0x9E3779B9L
    private const val WEYL_1 = 0xBB67AE85L
    private const val EIGHTH = 1L shl 29
    private const val QUARTER = 1L shl 30
    private const val WORD_UNIT = 1.0 / (1L shl 32)
    private const val LN_2 = 0.6931471805599453
    private const val SQRT_HALF = 0.7071067811865476
    private const val ANGLE_UNIT = 1.5707963267948966 / (1L shl 30)
    private val LOG_TERMS = DoubleArray(12) { 1.0 / (2 * it + 1) }
    private val SIN_TERMS = DoubleArray(9) { sign(it) * (1.0 / factorial(2 * it + 1)) }
    private val COS_TERMS = DoubleArray(10) { sign(it) * (1.0 / factorial(2 * it)) }
}

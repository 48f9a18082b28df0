package dreamlite.app.model

import kotlin.random.Random
import kotlin.random.nextULong

/** The seed as text in a field: any whole number from 0 to 2^64 - 1. */
object Seeds {
    /** Short enough to read out and type again. */
    private const val MOST_ROLLED = 999_999_999UL

    fun parse(text: String): ULong? = text.trim().takeIf { trimmed -> trimmed.all { it in '0'..'9' } }?.toULongOrNull()

    /** What a field takes of what was typed or pasted. */
    fun typed(text: String): String = text.filter { it in '0'..'9' }.take(ULong.MAX_VALUE.toString().length)

    fun rolled(random: Random): ULong = random.nextULong(0UL..MOST_ROLLED)
}

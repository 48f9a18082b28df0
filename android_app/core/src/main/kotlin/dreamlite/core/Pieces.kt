package dreamlite.core

/** How Qwen2 cuts text into pieces before byte-pair encoding, as its `tokenizer.json` writes it. */
internal const val QWEN_SPLIT: String = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" +
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/**
 * [QWEN_SPLIT] without a regular-expression engine: the JVM's and Android's read `\s` and `(?i:` differently, and
 * neither as the exporter's does. Only the platform's table of letters and digits is left to differ.
 */
internal class Pieces(private val text: String) {
    /** Calls [piece] with start and end of every piece, in order and without gaps. */
    inline fun forEach(piece: (Int, Int) -> Unit) {
        var at = 0
        while (at < text.length) {
            val end = end(at)
            piece(at, end)
            at = end
        }
    }

    /** Where the piece that starts at [at] ends: the alternatives of the pattern in its order. */
    fun end(at: Int): Int {
        contraction(at).let { if (it > at) return it }
        words(at).let { if (it > at) return it }
        val first = kind(at)
        if (first == Kind.DIGIT) return next(at)
        marks(at).let { if (it > at) return it }
        return spaces(at)
    }

    /** 's, 't, 're, 've, 'm, 'll, 'd in any case; the long s (U+017F) is an s where case is ignored. */
    private fun contraction(at: Int): Int {
        if (text[at] != '\'' || at + 1 >= text.length) return at
        val first = folded(text[at + 1])
        val second = if (at + 2 < text.length) folded(text[at + 2]) else '\u0000'
        return when {
            first in "stmd" -> at + 2
            (first == 'r' || first == 'v') && second == 'e' || first == 'l' && second == 'l' -> at + 3
            else -> at
        }
    }

    private fun folded(char: Char): Char = when (char) {
        in 'A'..'Z' -> char + ('a' - 'A')
        '\u017F' -> 's'
        else -> char
    }

    /** Letters, with one character before them that is no letter, digit or line end. */
    private fun words(at: Int): Int {
        val start = if (kind(at) == Kind.LETTER || kind(at) == Kind.DIGIT || lineEnd(at)) at else next(at)
        return run(start) { kind(it) == Kind.LETTER }.takeIf { it > start } ?: at
    }

    /** Neither space, letter nor digit, with one space before and line ends after. */
    private fun marks(at: Int): Int {
        val start = if (text[at] == ' ') at + 1 else at
        val end = run(start) { kind(it) == Kind.MARK }
        return if (end == start) at else run(end, ::lineEnd)
    }

    /** White space: up to its last line end, else all but the last before a word, else all of it. */
    private fun spaces(at: Int): Int {
        val end = run(at) { kind(it) == Kind.SPACE }
        for (last in end - 1 downTo at) if (lineEnd(last)) return last + 1
        return if (end < text.length && end - at > 1) end - 1 else end
    }

    private inline fun run(start: Int, fits: (Int) -> Boolean): Int {
        var at = start
        while (at < text.length && fits(at)) at = next(at)
        return at
    }

    private fun next(at: Int) = at + Character.charCount(text.codePointAt(at))

    private fun lineEnd(at: Int) = text[at] == '\n' || text[at] == '\r'

    private fun kind(at: Int): Kind {
        val point = text.codePointAt(at)
        return when (Character.getType(point).toByte()) {
            Character.UPPERCASE_LETTER, Character.LOWERCASE_LETTER, Character.TITLECASE_LETTER,
            Character.MODIFIER_LETTER, Character.OTHER_LETTER,
            -> Kind.LETTER
            Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER -> Kind.DIGIT
            Character.SPACE_SEPARATOR, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> Kind.SPACE
            else -> if (point in 0x09..0x0D || point == 0x85) Kind.SPACE else Kind.MARK
        }
    }

    private enum class Kind { LETTER, DIGIT, SPACE, MARK }
}

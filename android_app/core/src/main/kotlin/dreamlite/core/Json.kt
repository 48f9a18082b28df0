package dreamlite.core

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.CodingErrorAction

/**
 * Plain JSON and nothing beside it: no repeated keys, no NaN or infinity, no lone surrogates, bounded depth.
 *
 * A cursor rather than a tree, because a tokenizer of 150,000 tokens is read once and kept in another form.
 */
internal class JsonCursor(private val text: String) {
    private var at = 0
    private var depth = 0

    /** Fails unless only white space is left. */
    fun end() {
        space()
        if (at < text.length) fail("unexpected text after the end")
    }

    /** The kind of the value that comes next, by its first character. */
    fun peek(): Char {
        space()
        return if (at < text.length) text[at] else fail("unexpected end")
    }

    /** Calls [member] with each key; it must consume the value. */
    inline fun members(member: (String) -> Unit) {
        val seen = HashSet<String>()
        open('{')
        var more = peek() != '}'
        while (more) {
            val key = string()
            if (!seen.add(key)) fail("repeated key '$key'")
            expect(':')
            member(key)
            more = separator('}')
        }
        close('}')
    }

    /** Calls [element] for each element; it must consume the value. */
    inline fun elements(element: () -> Unit) {
        open('[')
        var more = peek() != ']'
        while (more) {
            element()
            more = separator(']')
        }
        close(']')
    }

    fun string(): String {
        expect('"')
        val start = at
        while (at < text.length && text[at] != '"' && text[at] != '\\') plain()
        if (at < text.length && text[at] == '"') return text.substring(start, at++)
        val found = StringBuilder(text.substring(start, at))
        while (true) {
            if (at >= text.length) fail("a string without an end")
            when (text[at]) {
                '"' -> {
                    at++
                    return checked(found.toString())
                }
                '\\' -> found.append(escape())
                else -> found.append(plain())
            }
        }
    }

    /** The text of a number, valid by JSON's grammar. */
    fun number(): String {
        space()
        val found = NUMBER.matchAt(text, at) ?: fail("not a value")
        at = found.range.last + 1
        return found.value
    }

    fun word(): String {
        space()
        val found = WORDS.firstOrNull { text.startsWith(it, at) } ?: fail("not a value")
        at += found.length
        return found
    }

    fun skip() {
        when (peek()) {
            '{' -> members { skip() }
            '[' -> elements { skip() }
            '"' -> string()
            't', 'f', 'n' -> word()
            else -> number()
        }
    }

    fun fail(problem: String): Nothing = throw JsonProblem("not valid JSON: $problem at character $at")

    fun open(bracket: Char) {
        expect(bracket)
        if (++depth > MAX_DEPTH) fail("nested deeper than $MAX_DEPTH")
    }

    fun close(bracket: Char) {
        expect(bracket)
        depth--
    }

    fun expect(wanted: Char) {
        if (peek() != wanted) fail("expected '$wanted', found '${text[at]}'")
        at++
    }

    /** Whether another element follows; consumes the comma. */
    fun separator(closing: Char): Boolean {
        if (peek() == closing) return false
        expect(',')
        if (peek() == closing) fail("a comma before '$closing'")
        return true
    }

    private fun space() {
        while (at < text.length && text[at] in " \t\n\r") at++
    }

    private fun plain(): Char {
        val char = text[at]
        if (char < ' ') fail("a control character in a string")
        at++
        return char
    }

    private fun escape(): Char {
        val kind = text.getOrNull(at + 1) ?: fail("a string without an end")
        at += 2
        if (kind == 'u') {
            val digits = text.substring(at, minOf(at + 4, text.length))
            if (digits.length != 4 || digits.any { it.digitToIntOrNull(16) == null || it > 'f' }) fail("a broken \\u escape")
            at += 4
            return digits.toInt(16).toChar()
        }
        val index = ESCAPES.indexOf(kind)
        return if (index >= 0) ESCAPED[index] else fail("an unknown escape \\$kind")
    }

    private fun checked(found: String): String {
        if (loneSurrogate(found) >= 0) fail("half of a surrogate pair")
        return found
    }

    private companion object {
        const val MAX_DEPTH = 100
        const val ESCAPES = "\"\\/bfnrt"
        const val ESCAPED = "\"\\/\b\u000c\n\r\t"
        val NUMBER = Regex("-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
        val WORDS = listOf("true", "false", "null")
    }
}

internal class JsonProblem(message: String) : Exception(message)

/** A parsed value. Numbers keep their text: whether `4.0` may be a whole number is for the reader to say. */
internal sealed interface Json {
    class Members(val values: Map<String, Json>) : Json
    class Elements(val values: List<Json>) : Json
    class Text(val value: String) : Json
    class Number(val text: String) : Json
    class Truth(val value: Boolean) : Json
    data object Null : Json
}

/** Parses a document; [JsonProblem] for anything that is not plain JSON. */
internal fun parseJson(text: String): Json {
    val cursor = JsonCursor(text)
    return cursor.value().also { cursor.end() }
}

internal fun JsonCursor.value(): Json = when (peek()) {
    '{' -> Json.Members(buildMap { members { put(it, value()) } })
    '[' -> Json.Elements(buildList { elements { add(value()) } })
    '"' -> Json.Text(string())
    't', 'f' -> Json.Truth(word() == "true")
    'n' -> {
        word()
        Json.Null
    }
    else -> Json.Number(finite(number()))
}

private fun JsonCursor.finite(text: String): String {
    if (!text.toDouble().isFinite()) fail("number ${text.take(40)} is too large")
    return text
}

/** UTF-8 to text; null where the bytes are no UTF-8. */
internal fun strictUtf8(bytes: ByteArray): String? = try {
    Charsets.UTF_8.newDecoder()
        .onMalformedInput(CodingErrorAction.REPORT)
        .onUnmappableCharacter(CodingErrorAction.REPORT)
        .decode(ByteBuffer.wrap(bytes)).toString()
} catch (_: CharacterCodingException) {
    null
}

/** Index of the first half of a surrogate pair that stands alone; -1 when there is none. */
internal fun loneSurrogate(text: String): Int {
    var index = 0
    while (index < text.length) {
        val char = text[index]
        val paired = char.isHighSurrogate() && text.getOrNull(index + 1)?.isLowSurrogate() == true
        if (char.isSurrogate() && !paired) return index
        index += if (paired) 2 else 1
    }
    return -1
}

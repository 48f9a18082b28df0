package dreamlite.core.bench

import dreamlite.core.Json
import java.math.BigDecimal

/** As Python writes it with an indent of two: the golden files are equal byte for byte. */
internal fun jsonText(json: Json): String = buildString { put(json, "\n") }.plus("\n")

internal fun members(vararg values: Pair<String, Json>): Json = Json.Members(linkedMapOf(*values))

internal fun <T> elements(values: Iterable<T>, write: (T) -> Json): Json = Json.Elements(values.map(write))

internal fun json(value: String?): Json = value?.let { Json.Text(it) } ?: Json.Null

internal fun json(value: Boolean?): Json = value?.let { Json.Truth(it) } ?: Json.Null

internal fun json(value: Int?): Json = json(value?.toLong())

internal fun json(value: Long?): Json = value?.let { Json.Number(it.toString()) } ?: Json.Null

internal fun json(value: ULong): Json = Json.Number(value.toString())

internal fun json(value: Double?): Json = value?.let { Json.Number(decimal(it)) } ?: Json.Null

/** Without an exponent, with a point. */
private fun decimal(value: Double): String {
    require(value.isFinite()) { "JSON has no $value" }
    val plain = BigDecimal(value.toString()).toPlainString()
    return if ('.' in plain) plain else "$plain.0"
}

private fun StringBuilder.put(json: Json, line: String) {
    when (json) {
        is Json.Members -> list(json.values.entries, "{}", line) { (key, value) ->
            text(key)
            append(": ")
            put(value, "$line  ")
        }
        is Json.Elements -> list(json.values, "[]", line) { put(it, "$line  ") }
        is Json.Text -> text(json.value)
        is Json.Number -> append(json.text)
        is Json.Truth -> append(json.value)
        Json.Null -> append("null")
    }
}

private fun <T> StringBuilder.list(values: Collection<T>, brackets: String, line: String, write: (T) -> Unit) {
    append(brackets[0])
    values.forEachIndexed { index, value ->
        append(if (index == 0) "" else ",").append(line).append("  ")
        write(value)
    }
    append(if (values.isEmpty()) "" else line).append(brackets[1])
}

private fun StringBuilder.text(value: String) {
    append('"')
    for (char in value) {
        when {
            char == '"' || char == '\\' -> append('\\').append(char)
            char < ' ' || char.isSurrogate() -> append("\\u%04x".format(char.code))
            else -> append(char)
        }
    }
    append('"')
}

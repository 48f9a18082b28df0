package dreamlite.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.assertEquals

/** What `dreamlite golden` wrote; a file is believed only when its digest is the one listed. */
object Golden {
    private val folder: Path = Path.of(System.getProperty("dreamlite.golden").orEmpty())
    private val digests: Map<String, String>

    init {
        val list = folder.resolve("golden.sha256")
        check(Files.isRegularFile(list)) {
            "no golden vectors at '$folder': write them with `dreamlite golden` and give -Ddreamlite.golden=FOLDER"
        }
        digests = Files.readAllLines(list).associate { it.substring(66) to it.substring(0, 64) }
    }

    val tokenizers: List<String> = digests.keys.filter { it.endsWith("/texts.jsonl") }.map { it.split("/")[1] }

    fun path(name: String): Path {
        val path = folder.resolve(name)
        assertEquals(digests[name], sha256(path), "$name was changed after it was written")
        return path
    }

    fun bytes(name: String): ByteArray = Files.readAllBytes(path(name))

    fun text(name: String): String = bytes(name).toString(Charsets.UTF_8)

    internal fun json(name: String): Json = parseJson(text(name))

    fun floats(name: String): FloatBuffer = ByteBuffer.wrap(bytes(name)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
}

internal operator fun Json.get(key: String): Json = (this as Json.Members).values.getValue(key)

internal fun Json.has(key: String): Boolean = ((this as Json.Members).values[key] ?: Json.Null) != Json.Null

internal val Json.all: List<Json> get() = (this as Json.Elements).values

internal val Json.text: String get() = (this as Json.Text).value

internal val Json.int: Int get() = (this as Json.Number).text.toInt()

internal val Json.double: Double get() = (this as Json.Number).text.toDouble()

internal val Json.truth: Boolean get() = (this as Json.Truth).value

internal val Json.ints: List<Int> get() = all.map { it.int }

/** Unsigned 32-bit numbers as the bits they stand for. */
internal val Json.bits: IntArray get() = all.map { (it as Json.Number).text.toLong().toInt() }.toIntArray()

internal fun <T> node(json: Json, read: (Node) -> T): T = read(Node(json, "", Problems()))

internal fun write(json: Json): String = when (json) {
    is Json.Members -> json.values.entries.joinToString(",", "{", "}") { "${quoted(it.key)}:${write(it.value)}" }
    is Json.Elements -> json.values.joinToString(",", "[", "]", transform = ::write)
    is Json.Text -> quoted(json.value)
    is Json.Number -> json.text
    is Json.Truth -> json.value.toString()
    Json.Null -> "null"
}

private fun quoted(text: String) = text.map { if (it in ' '..'~' && it != '"' && it != '\\') "$it" else "\\u%04x".format(it.code) }
    .joinToString("", "\"", "\"")

/** The document with one place changed; null deletes it. */
internal fun Json.changed(path: List<String>, value: Json?): Json {
    val (first, rest) = path.first() to path.drop(1)
    val leaf = rest.isEmpty()
    return when (this) {
        is Json.Members -> Json.Members(
            if (leaf && value == null) {
                values - first
            } else {
                values + (first to if (leaf) value!! else values.getValue(first).changed(rest, value))
            },
        )
        is Json.Elements -> Json.Elements(
            values.mapIndexedNotNull { index, old ->
                when {
                    index != first.toInt() -> old
                    leaf -> value
                    else -> old.changed(rest, value)
                }
            },
        )
        else -> error("nothing lies below $path")
    }
}

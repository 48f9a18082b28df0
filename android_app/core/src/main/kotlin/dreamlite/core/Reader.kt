package dreamlite.core

/** Collects every problem of a document with its place, so that one message lists them all. */
internal class Problems {
    private val found = ArrayList<String>()

    val any: Boolean get() = found.isNotEmpty()

    fun add(place: String, problem: String) {
        found += if (place.isEmpty()) problem else "$place: $problem"
    }

    override fun toString(): String = found.joinToString("; ")
}

/** Thrown inside the reader where a value cannot be replaced by anything; its problem is already collected. */
internal class Unreadable : Exception()

/**
 * Strict reading of one value: no coercion, no unknown keys. A problem is collected and a stand-in returned where one
 * makes sense, so that the rest is read as well.
 */
internal class Node(val json: Json?, val place: String, private val problems: Problems) {
    fun problem(text: String) = problems.add(place, text)

    private fun unreadable(text: String): Nothing {
        problem(text)
        throw Unreadable()
    }

    private inline fun <reified T : Json> of(kind: String): T =
        json as? T ?: unreadable(if (json == null) "is missing" else "must be $kind")

    fun text(least: Int = 1): String {
        val value = of<Json.Text>("a text").value
        if (value.length < least) problem("must not be empty")
        return value
    }

    fun truth(): Boolean = of<Json.Truth>("true or false").value

    fun long(least: Long, most: Long = Long.MAX_VALUE): Long {
        val text = of<Json.Number>("a whole number").text
        val value = text.toLongOrNull() ?: unreadable("must be a whole number (found ${text.take(40)})")
        if (value !in least..most) problem("must be in $least...$most (found $value)")
        return value
    }

    fun int(least: Int): Int = long(least.toLong(), Int.MAX_VALUE.toLong()).toInt()

    fun double(): Double = of<Json.Number>("a number").text.toDouble()

    fun <T> choice(known: Map<String, T>): T {
        val value = text()
        return known[value] ?: unreadable("must be one of ${known.keys.joinToString()} (found '${value.take(40)}')")
    }

    fun pattern(regex: Regex, meaning: String): String {
        val value = text()
        if (!regex.matches(value)) problem("must be $meaning (found '${value.take(80)}')")
        return value
    }

    fun <T> list(sizes: IntRange, read: (Node) -> T): List<T> {
        val values = of<Json.Elements>("a list").values
        if (values.size !in sizes) {
            val most = when (sizes.last) {
                sizes.first -> ""
                Int.MAX_VALUE -> " or more"
                else -> " to ${sizes.last}"
            }
            problem("must hold ${sizes.first}$most values (found ${values.size})")
        }
        return values.mapIndexedNotNull { index, value -> attempt { read(Node(value, "$place.$index", problems)) } }
    }

    fun <T> map(least: Int, read: (String, Node) -> T): Map<String, T> {
        val values = of<Json.Members>("an object").values
        if (values.size < least) problem("must not be empty")
        return buildMap { for ((key, value) in values) attempt { put(key, read(key, Node(value, inside(key), problems))) } }
    }

    /** Reads the members that [read] asks for; any other is a problem, if it came so far as to have asked for all. */
    fun <T> members(read: Fields.() -> T): T {
        val values = of<Json.Members>("an object").values
        val fields = Fields(values, this)
        return fields.read().also {
            for (key in values.keys - fields.asked) problems.add(inside(key), "is not part of the schema")
        }
    }

    private inline fun <T> attempt(read: () -> T): T? = try {
        read()
    } catch (_: Unreadable) {
        null
    }

    fun inside(key: String) = if (place.isEmpty()) key else "$place.$key"

    fun child(key: String, value: Json?) = Node(value, inside(key), problems)
}

/** The members of one object. */
internal class Fields(private val values: Map<String, Json>, private val node: Node) {
    val asked = HashSet<String>()

    operator fun get(key: String): Node {
        asked += key
        return node.child(key, values[key])
    }

    /** Null where the key is absent or null. */
    fun <T> optional(key: String, read: (Node) -> T): T? {
        val found = get(key)
        return if (found.json == null || found.json == Json.Null) null else read(found)
    }

    /** [default] where the key is absent. */
    fun <T> default(key: String, default: T, read: (Node) -> T): T {
        val found = get(key)
        return if (found.json == null) default else read(found)
    }

    fun problem(text: String) = node.problem(text)
}

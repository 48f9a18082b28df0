package dreamlite.core

/** Two ids to what joins them, in a flat table: 150,000 merges take 3 MB and no objects. */
internal class Merges(count: Int) {
    private val mask = Integer.highestOneBit(maxOf(count, 8) * 2) * 2 - 1
    private val keys = LongArray(mask + 1) { EMPTY }
    private val ranks = IntArray(mask + 1)
    private val joined = IntArray(mask + 1)

    fun add(left: Int, right: Int, rank: Int, result: Int) {
        val at = slot(left, right)
        if (keys[at] != EMPTY) return
        keys[at] = key(left, right)
        ranks[at] = rank
        joined[at] = result
    }

    /** The slot of a pair, for [rank] and [result]; -1 when it does not merge. */
    fun find(left: Int, right: Int): Int = slot(left, right).let { if (keys[it] == EMPTY) -1 else it }

    fun rank(slot: Int): Int = ranks[slot]

    fun result(slot: Int): Int = joined[slot]

    private fun key(left: Int, right: Int) = left.toLong() shl Int.SIZE_BITS or right.toLong()

    private fun slot(left: Int, right: Int): Int {
        val key = key(left, right)
        var at = ((key * SPREAD) ushr HIGH).toInt() and mask
        while (keys[at] != EMPTY && keys[at] != key) at = at + 1 and mask
        return at
    }

    private companion object {
        const val EMPTY = -1L
        const val HIGH = 33
        const val SPREAD = -7046029254386353131L
    }
}

/** What a Qwen `tokenizer.json` says: ids of bytes, merges, and tokens that stand outside of them. */
internal class TokenizerFile(val byteIds: IntArray, val merges: Merges, val added: Map<String, Int>, val vocabSize: Int)

/** Reads a `tokenizer.json`; PromptException where it is damaged or works otherwise than Qwen's. */
internal fun readTokenizerFile(text: String, where: String): TokenizerFile = try {
    TokenizerReader(where).read(text)
} catch (problem: JsonProblem) {
    throw PromptException("tokenizer $where: ${problem.message}; give the checkpoint's tokenizer.json", problem)
}

private class TokenizerReader(private val where: String) {
    private val vocab = HashMap<String, Int>()
    private val added = LinkedHashMap<String, Int>()
    private val pairs = ArrayList<String>()

    fun read(text: String): TokenizerFile {
        val cursor = JsonCursor(text)
        var seen = 0
        cursor.members { key ->
            when (key) {
                "added_tokens" -> cursor.elements { addedToken(parse(cursor)) }
                "normalizer" -> normalizer(parse(cursor))
                "pre_tokenizer" -> preTokenizer(parse(cursor))
                "model" -> {
                    model(cursor)
                    seen++
                }
                else -> cursor.skip()
            }
        }
        cursor.end()
        if (seen == 0) refuse("has no model")
        return TokenizerFile(byteIds(), merges(), added, maxOf(vocab.values.max(), added.values.maxOrNull() ?: 0) + 1)
    }

    private fun model(cursor: JsonCursor) = cursor.members { key ->
        when (key) {
            "vocab" -> cursor.members { token -> vocab[token] = id(cursor.number()) }
            "merges" -> cursor.elements { pairs += merge(cursor) }
            "type" -> if (cursor.string() != "BPE") refuse("is no byte-pair encoding")
            "ignore_merges", "fuse_unk", "byte_fallback" -> if (cursor.word() == "true") refuse("sets $key")
            "dropout", "unk_token" -> if (cursor.peek() != 'n') refuse("sets $key") else cursor.skip()
            "continuing_subword_prefix", "end_of_word_suffix" ->
                if (cursor.peek() == 'n') {
                    cursor.skip()
                } else if (cursor.string() != "") {
                    refuse("sets $key")
                }
            else -> cursor.skip()
        }
    }

    /** "left right" or ["left", "right"], as older and newer files write it. */
    private fun merge(cursor: JsonCursor): String {
        if (cursor.peek() == '"') return cursor.string()
        val parts = ArrayList<String>(2)
        cursor.elements { parts += cursor.string() }
        return parts.joinToString(" ")
    }

    private fun merges(): Merges {
        val found = Merges(pairs.size)
        pairs.forEachIndexed { rank, pair ->
            val (left, right) = pair.split(' ').takeIf { it.size == 2 } ?: refuse("has a broken merge '$pair'")
            fun id(token: String) = vocab[token] ?: refuse("merges '$token', which its vocabulary lacks")
            found.add(id(left), id(right), rank, id(left + right))
        }
        return found
    }

    private fun byteIds(): IntArray {
        val letters = byteLetters()
        return IntArray(letters.size) { byte ->
            vocab[letters[byte].toString()] ?: refuse("has no token for byte $byte")
        }
    }

    private fun addedToken(json: Json) {
        val values = (json as? Json.Members)?.values ?: refuse("has a broken added token")
        for (flag in listOf("single_word", "lstrip", "rstrip", "normalized")) {
            if ((values[flag] as? Json.Truth)?.value == true) refuse("has an added token with $flag")
        }
        val content = (values["content"] as? Json.Text)?.value ?: refuse("has an added token without content")
        if (content.isEmpty()) refuse("has an added token that is empty")
        added[content] = id((values["id"] as? Json.Number)?.text ?: refuse("has an added token without id"))
    }

    private fun normalizer(json: Json) {
        if (type(json) != "NFC") refuse("normalises text otherwise than by NFC")
    }

    private fun preTokenizer(json: Json) {
        val parts = ((json as? Json.Members)?.values?.get("pretokenizers") as? Json.Elements)?.values.orEmpty()
        val pattern = ((parts.firstOrNull() as? Json.Members)?.values?.get("pattern") as? Json.Members)?.values?.get("Regex")
        val known = parts.map(::type) == listOf("Split", "ByteLevel") && (pattern as? Json.Text)?.value == QWEN_SPLIT
        if (!known) refuse("cuts text otherwise than Qwen's")
    }

    private fun type(json: Json) = ((json as? Json.Members)?.values?.get("type") as? Json.Text)?.value

    private fun id(text: String) = text.toIntOrNull()?.takeIf { it in 0 until Int.MAX_VALUE } ?: refuse("has an id $text")

    private fun parse(cursor: JsonCursor) = cursor.value()

    private fun refuse(problem: String): Nothing =
        throw PromptException("tokenizer $where: $problem, which is not supported; give the checkpoint's tokenizer.json")
}

/** The printable letter that stands for each byte in a byte-level vocabulary. */
internal fun byteLetters(): CharArray {
    var standIn = 256
    return CharArray(256) { byte ->
        val printable = byte in 0x21..0x7E || byte in 0xA1..0xAC || byte in 0xAE..0xFF
        if (printable) byte.toChar() else (standIn++).toChar()
    }
}

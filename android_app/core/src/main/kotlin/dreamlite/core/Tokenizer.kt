package dreamlite.core

import java.nio.file.Files
import java.nio.file.Path
import java.text.Normalizer
import java.util.PriorityQueue

/** Token ids and, for each, where in the text (UTF-16 units) it starts. */
public class Encoding internal constructor(public val ids: IntArray, internal val starts: IntArray)

/** Qwen's byte-level byte-pair encoding, read from a `tokenizer.json`. Safe to share between threads. */
public class Tokenizer internal constructor(private val file: TokenizerFile) {
    private val added = file.added.keys.sortedByDescending { it.length }
    private val firsts = added.map { it[0] }.toSet()

    /** Ids run from 0 to one less than this, added tokens included. */
    public val vocabSize: Int get() = file.vocabSize

    /** The id of an added token such as `<|im_start|>`; null for any other text. */
    public fun idOf(token: String): Int? = file.added[token]

    /** Encodes [text]: added tokens written out are read as such, the rest is normalised (NFC), cut and merged. */
    public fun encode(text: String): Encoding {
        val found = Ids(text.length + 1)
        var plainFrom = 0
        var at = 0
        while (at < text.length) {
            val token = if (text[at] in firsts) added.firstOrNull { text.startsWith(it, at) } else null
            if (token == null) {
                at++
                continue
            }
            plain(text, plainFrom, at, found)
            found.add(file.added.getValue(token), at)
            at += token.length
            plainFrom = at
        }
        plain(text, plainFrom, text.length, found)
        return found.encoding()
    }

    /** The pieces of the normalised text that are merged each on its own. */
    internal fun pieces(text: String): List<String> {
        val normal = Normalizer.normalize(text, Normalizer.Form.NFC)
        return buildList { Pieces(normal).forEach { start, end -> add(normal.substring(start, end)) } }
    }

    private fun plain(text: String, from: Int, until: Int, found: Ids) {
        if (from == until) return
        val original = text.substring(from, until)
        val origin = Origins(original, from)
        val normal = origin.normal
        Pieces(normal).forEach { start, end -> piece(normal, start, end, origin, found) }
    }

    private fun piece(text: String, start: Int, end: Int, origin: Origins, found: Ids) {
        val bytes = text.substring(start, end).toByteArray(Charsets.UTF_8)
        val joining = Joining(file.merges, IntArray(bytes.size) { file.byteIds[bytes[it].toInt() and 0xFF] })
        val owners = byteOwners(text, start, end, bytes.size)
        joining.forEach { id, byte -> found.add(id, origin.start(owners[byte])) }
    }

    /** For each byte of a piece the UTF-16 index of its character. */
    private fun byteOwners(text: String, start: Int, end: Int, count: Int): IntArray {
        val owners = IntArray(count)
        var byte = 0
        var at = start
        while (at < end) {
            val point = text.codePointAt(at)
            val length = if (point < 0x80) {
                1
            } else if (point < 0x800) {
                2
            } else if (point < 0x10000) {
                3
            } else {
                4
            }
            owners.fill(at, byte, byte + length)
            byte += length
            at += Character.charCount(point)
        }
        return owners
    }

    public companion object {
        /**
         * Reads a `tokenizer.json`.
         *
         * @throws PromptException the file is missing, damaged, or works otherwise than Qwen's.
         */
        public fun read(path: Path): Tokenizer {
            val bytes = try {
                Files.readAllBytes(path)
            } catch (error: java.io.IOException) {
                throw PromptException("tokenizer $path: cannot be read ($error); give the checkpoint's tokenizer.json", error)
            }
            val text = strictUtf8(bytes)
                ?: throw PromptException("tokenizer $path: not a text file; give the checkpoint's tokenizer.json")
            return Tokenizer(readTokenizerFile(text, path.toString()))
        }
    }
}

/**
 * Byte-pair encoding of one piece: of the pairs that merge, the one of lowest rank is joined, the leftmost of equals, until none
 * is left. [ids] is a linked list by the byte where each begins; a queue keeps a long piece (pasted text without spaces) from
 * taking time by the square of its length.
 */
private class Joining(private val merges: Merges, private val ids: IntArray) {
    private val next = IntArray(ids.size) { it + 1 }
    private val before = IntArray(ids.size) { it - 1 }
    private val waiting = PriorityQueue<Long>()

    init {
        for (at in ids.indices) offer(at)
        while (waiting.isNotEmpty()) {
            val (rank, at) = waiting.remove().let { (it ushr Int.SIZE_BITS).toInt() to it.toInt() }
            val slot = slot(at)
            // One of the two was joined elsewhere since.
            if (slot < 0 || merges.rank(slot) != rank) continue
            join(at, merges.result(slot))
        }
    }

    /** Calls [token] with every id that is left and the byte where it begins. */
    inline fun forEach(token: (Int, Int) -> Unit) {
        var at = 0
        while (at < ids.size) {
            token(ids[at], at)
            at = next[at]
        }
    }

    /** How the id at a byte merges with the one after it; -1 where it does not, or is gone. */
    private fun slot(at: Int): Int {
        val right = next[at]
        return if (right == GONE || right == ids.size) -1 else merges.find(ids[at], ids[right])
    }

    private fun offer(at: Int) {
        val slot = slot(at)
        if (slot >= 0) waiting.add(merges.rank(slot).toLong() shl Int.SIZE_BITS or at.toLong())
    }

    private fun join(at: Int, id: Int) {
        val right = next[at]
        ids[at] = id
        next[at] = next[right]
        if (next[at] < ids.size) before[next[at]] = at
        next[right] = GONE
        offer(at)
        if (before[at] >= 0) offer(before[at])
    }

    private companion object {
        const val GONE = -1
    }
}

private class Ids(capacity: Int) {
    private var ids = IntArray(capacity)
    private var starts = IntArray(capacity)
    private var size = 0

    fun add(id: Int, start: Int) {
        if (size == ids.size) {
            ids = ids.copyOf(size * 2)
            starts = starts.copyOf(size * 2)
        }
        ids[size] = id
        starts[size++] = start
    }

    fun encoding() = Encoding(ids.copyOf(size), starts.copyOf(size))
}

/** Where characters of normalised text come from in the original, which starts at [offset] of a larger one. */
private class Origins(original: String, private val offset: Int) {
    val normal: String = Normalizer.normalize(original, Normalizer.Form.NFC)
    private val starts: IntArray? = if (normal == original) null else map(original)

    fun start(index: Int): Int = offset + (starts?.get(index) ?: index)

    /** Cut where no mark joins two characters: each stretch is normalised on its own and keeps its beginning. */
    private fun map(original: String): IntArray? {
        val found = IntArray(normal.length)
        var at = 0
        var done = 0
        while (at < original.length) {
            var end = original.offsetByCodePoints(at, 1)
            while (end < original.length && joins(original, at, end)) end = original.offsetByCodePoints(end, 1)
            val stretch = Normalizer.normalize(original.substring(at, end), Normalizer.Form.NFC)
            for (index in stretch.indices) if (done + index < found.size) found[done + index] = minOf(at + index, end - 1)
            done += stretch.length
            at = end
        }
        return found
    }

    private fun joins(text: String, from: Int, at: Int): Boolean {
        val point = text.codePointAt(at)
        val type = Character.getType(point).toByte()
        if (type == Character.NON_SPACING_MARK || type == Character.COMBINING_SPACING_MARK) return true
        val together = text.substring(from, at + Character.charCount(point))
        val alone = Normalizer.normalize(text.substring(from, at), Normalizer.Form.NFC) + String(Character.toChars(point))
        return Normalizer.normalize(together, Normalizer.Form.NFC) != alone
    }
}

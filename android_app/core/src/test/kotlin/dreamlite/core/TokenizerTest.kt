package dreamlite.core

import org.junit.jupiter.api.Assertions.assertTimeoutPreemptively
import org.junit.jupiter.api.function.ThrowingSupplier
import java.time.Duration
import java.util.Random
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** What the golden texts do not reach: pieces of great length, files that are wrong. */
class TokenizerTest {
    private fun text(name: String) = Golden.text("tokenizer/$name/tokenizer.json")

    private fun files() = Golden.tokenizers.map { readTokenizerFile(text(it), it) }

    /** Oracle: byte-pair encoding as it is defined, one merge after the other over the whole piece. */
    private fun byDefinition(file: TokenizerFile, letters: String): List<Int> {
        val ids = letters.map { file.byteIds[it.code] }.toMutableList()
        while (true) {
            val pairs = (0 until ids.size - 1).map { it to file.merges.find(ids[it], ids[it + 1]) }.filter { it.second >= 0 }
            val (at, slot) = pairs.minByOrNull { file.merges.rank(it.second) } ?: return ids
            ids[at] = file.merges.result(slot)
            ids.removeAt(at + 1)
        }
    }

    @Test
    fun `long pieces are merged as byte-pair encoding is defined`() {
        val random = Random(1)
        val pieces = List(40) { String(CharArray(1 + random.nextInt(300)) { "aeinorst"[random.nextInt(8)] }) } + "e".repeat(301)
        for (file in files()) {
            val tokenizer = Tokenizer(file)
            for (piece in pieces) assertEquals(byDefinition(file, piece), tokenizer.encode(piece).ids.toList(), piece)
        }
    }

    @Test
    fun `long texts take time by their length, not by its square`() {
        val letters = listOf("abcdefghij", "e\u0301", "\u1112\u1161\u11ab", " \n", "!?", "<|", "\u9ec4\u8272")
        for (tokenizer in files().map(::Tokenizer)) {
            for (text in letters.map { it.repeat(200_000 / it.length) }) {
                val found = assertTimeoutPreemptively(Duration.ofSeconds(30), ThrowingSupplier { tokenizer.encode(text).ids.size })
                assertTrue(found in 1..3 * text.length, "${text.take(4)}: $found")
            }
        }
    }

    @Test
    fun `an added token that is empty and an id that is none are refused`() {
        val text = text("tiny")
        fun refused(changed: String) = assertFailsWith<PromptException> { readTokenizerFile(changed, "tokenizer.json") }.message!!
        assertContains(refused(text.replaceFirst("\"<|im_start|>\"", "\"\"")), "added token that is empty")
        assertContains(refused(text.replaceFirst(Regex("\"id\": *[0-9]+"), "\"id\": ${Int.MAX_VALUE}")), "has an id ${Int.MAX_VALUE}")
    }
}

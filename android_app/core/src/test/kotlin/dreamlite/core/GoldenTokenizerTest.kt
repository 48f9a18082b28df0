package dreamlite.core

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** Oracle: the Python library `tokenizers`, on the embedded and on the published Qwen vocabulary. */
class GoldenTokenizerTest {
    private fun cases(name: String) = Golden.text("tokenizer/$name/texts.jsonl").lines().filter { it.isNotEmpty() }.map(::parseJson)

    private fun differing(what: (Tokenizer, Json) -> String?) {
        assertTrue(Golden.tokenizers.isNotEmpty())
        for (name in Golden.tokenizers) {
            val tokenizer = Tokenizer.read(Golden.path("tokenizer/$name/tokenizer.json"))
            val cases = cases(name)
            assertTrue(cases.size >= 3000, "only ${cases.size} texts")
            val wrong = cases.mapNotNull { what(tokenizer, it) }
            assertEquals(emptyList(), wrong.take(5), "$name: ${wrong.size} of ${cases.size} differ")
        }
    }

    @Test
    fun `ids are those of the exporter`() = differing { tokenizer, case ->
        val (found, expected) = tokenizer.encode(case["text"].text).ids.toList() to case["ids"].ints
        if (found == expected) null else "${write(case["text"])}: $found, expected $expected"
    }

    @Test
    fun `pieces end where the exporter's do`() = differing { tokenizer, case ->
        val (found, expected) = tokenizer.pieces(case["text"].text) to case["pieces"].all.map { it.text }
        if (found == expected) null else "${write(case["text"])}: $found, expected $expected"
    }

    @Test
    fun `ids cover the whole text in order`() = differing { tokenizer, case ->
        val text = case["text"].text
        val starts = tokenizer.encode(text).starts.toList()
        if (starts == starts.sorted() && starts.all { it in text.indices }) null else "${write(case["text"])}: $starts"
    }
}

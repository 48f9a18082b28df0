package dreamlite.core

import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Oracle: `PromptEncoder` and `mrope_positions` of the exporter. */
class GoldenPromptTest {
    private class Vocabulary(name: String) {
        val document = Golden.json("tokenizer/$name/prompts.json")
        val entry = node(document["prompt"], ::readPrompt)
        val tokenizer = Tokenizer.read(Golden.path("tokenizer/$name/tokenizer.json"))
        val encoder = PromptEncoder(tokenizer, entry)

        fun layout(case: Json) = case["text"].text.let { if (case["mode"].text == "edit") encoder.edit(it) else encoder.generate(it) }
    }

    private val vocabularies = Golden.tokenizers.map(::Vocabulary)

    private fun each(check: (Vocabulary, Json) -> Unit) {
        for (vocabulary in vocabularies) for (case in vocabulary.document["cases"].all) check(vocabulary, case)
    }

    @Test
    fun `ids, masks and image rows are those of the exporter`() = each { vocabulary, case ->
        if (case.has("refused")) return@each
        val layout = vocabulary.layout(case)
        val shown = write(case["text"])
        assertEquals(case["ids"].ints, layout.ids.toList(), shown)
        assertEquals(case["valid"].int, layout.valid, shown)
        val masked = case["masked"].int
        assertEquals(List(layout.mask.size) { if (it < masked) 1f else 0f }, layout.mask.toList(), shown)
        val image = if (case.has("image")) case["image"].ints.let { it[0] until it[1] } else null
        assertEquals(image, layout.image, shown)
    }

    @Test
    fun `what does not fit is named`() = each { vocabulary, case ->
        if (case.has("refused")) return@each
        val layout = vocabulary.layout(case)
        assertEquals(case["cut"].truth, layout.cut, write(case["text"]))
        assertEquals(case["lost"].text, layout.lost, write(case["text"]))
    }

    @Test
    fun `what the exporter refuses is refused`() = each { vocabulary, case ->
        if (!case.has("refused")) return@each
        val message = assertFailsWith<PromptException> { vocabulary.layout(case) }.message!!
        val reason = listOf("empty", "stands for a picture").single { it in case["refused"].text }
        assertContains(message, reason)
    }

    @Test
    fun `positions are those of the exporter`() {
        var seen = 0
        each { vocabulary, case ->
            if (!case.has("positions")) return@each
            assertEquals(case["positions"].all.map { it.ints }, vocabulary.layout(case).positions().map { it.toList() })
            seen++
        }
        assertTrue(seen >= 2 * vocabularies.size)
    }

    @Test
    fun `the published vocabulary drops 34 and 64`() {
        val published = vocabularies.single { it.document["published"].truth }
        assertEquals(listOf(34, 64), Mode.entries.map { published.encoder.shape(it).drop })
    }

    @Test
    fun `programs made for other lengths are refused`() {
        val entry = vocabularies[0].entry
        for (mode in Mode.entries) {
            val other = entry.modes.getValue(mode).let { it.copy(dropTokens = it.dropTokens + 1, sequenceLength = it.sequenceLength - 1) }
            val changed = entry.copy(modes = entry.modes + (mode to other))
            val error = assertFailsWith<BundleException> { PromptEncoder(vocabularies[0].tokenizer, changed) }
            assertContains(error.message!!, "programs were made for ${other.dropTokens}")
        }
    }

    @Test
    fun `a text encoder that holds the keys of another prefix is refused`() {
        val (entry, tokenizer) = vocabularies[0].entry to vocabularies[0].tokenizer
        for (mode in Mode.entries) {
            val own = entry.modes.getValue(mode)
            val begun = vocabularies[0].encoder.generate("x").ids.take(own.dropTokens)
            val other = entry.copy(modes = entry.modes + (mode to own.copy(prefixTokens = begun.map { it + 1 })))
            val error = assertFailsWith<BundleException> { PromptEncoder(tokenizer, other) }
            assertContains(error.message!!, "begins every ${mode.key} prompt with other tokens")
        }
        val generate = entry.modes.getValue(Mode.GENERATE)
        val begun = vocabularies[0].encoder.generate("x").ids.take(generate.dropTokens)
        PromptEncoder(tokenizer, entry.copy(modes = entry.modes + (Mode.GENERATE to generate.copy(prefixTokens = begun))))
    }

    @Test
    fun `half of a surrogate pair is refused`() {
        val error = assertFailsWith<PromptException> { vocabularies[0].encoder.generate("a \uD83D b") }
        assertContains(error.message!!, "character 2 is half of a surrogate pair")
    }
}

package dreamlite.core

/** Static lengths of one mode: the text tower reads [tokens], drops the first [drop], the U-Net sees [states]. */
public data class PromptShape(val drop: Int, val states: Int) {
    public val tokens: Int get() = drop + states
}

/**
 * One tokenised prompt.
 *
 * [ids] has one entry for each token of the shape, padded on the right; [valid] of them count. [mask] has one for each
 * state: 1 valid, 0 padding, after the dropped prefix. [image]: the rows within [ids] that image tokens replace, null
 * in generate mode. [lost]: the end of the prompt that did not fit, "" if all of it did; [cut] also where only the
 * template's closing tokens did not fit.
 */
public class PromptLayout internal constructor(
    public val ids: IntArray,
    public val valid: Int,
    public val mask: FloatArray,
    public val image: IntRange?,
    public val lost: String,
    public val cut: Boolean,
) {
    /**
     * Time, height and width positions (M-RoPE) of the tokens, [3][tokens], for programs that take them as an input;
     * those of `dreamlite export` carry them as constants.
     */
    public fun positions(): Array<IntArray> {
        val picture = image ?: return Array(AXES) { IntArray(ids.size) { token -> token } }
        val start = picture.first
        val grid = Math.sqrt(picture.count().toDouble()).toInt()
        return Array(AXES) { axis ->
            IntArray(ids.size) { token ->
                val inside = token - start
                when {
                    inside < 0 -> token
                    token > picture.last -> token - picture.count() + grid
                    axis == 0 -> start
                    axis == 1 -> start + inside / grid
                    else -> start + inside % grid
                }
            }
        }
    }

    private companion object {
        const val AXES = 3
    }
}

/**
 * Prompts to token ids, by the templates of a manifest: `PromptEncoder` of the exporter.
 *
 * Control tokens written out in a prompt (`<|im_end|>`, ...) are read as control tokens, as upstream does. Picture
 * placeholders are refused. Every other character passes.
 *
 * @throws PromptException the tokenizer lacks a token that the templates need.
 * @throws BundleException the tokenizer does not give the lengths that the programs were made for.
 */
public class PromptEncoder(private val tokenizer: Tokenizer, private val prompt: PromptEntry) {
    private val needed = listOf(IM_START, IM_END, VISION_START, IMAGE_PAD, VISION_END).associateWith(::tokenId)
    private val placeholders = PLACEHOLDERS.mapNotNull { token -> tokenizer.idOf(token)?.let { it to token } }.toMap()
    private val padId = tokenizer.idOf(PAD) ?: 0
    private val frames = prompt.modes.mapValues { (_, mode) -> Frame(mode) }

    init {
        val stated = listOf(
            Triple(IMAGE_PAD, needed.getValue(IMAGE_PAD), prompt.imageTokenId),
            Triple(VISION_START, needed.getValue(VISION_START), prompt.visionStartTokenId),
            Triple(VISION_END, needed.getValue(VISION_END), prompt.visionEndTokenId),
            Triple(PAD, padId, prompt.padTokenId),
        )
        for ((token, found, expected) in stated) {
            if (found != expected) {
                throw BundleException("prompt: the tokenizer gives $token id $found, the manifest says $expected. $AGAIN")
            }
        }
        for (mode in prompt.modes.keys) {
            checkShape(mode)
            checkPrefix(mode)
        }
    }

    /** The static lengths of a mode. */
    public fun shape(mode: Mode): PromptShape = entry(mode).let { PromptShape(it.dropTokens, it.sequenceLength) }

    /**
     * Tokenises a prompt to make a picture from. The whole text is limited to the mode's tokens, so the template's
     * closing tokens are lost first.
     *
     * @throws PromptException empty, not valid Unicode, or with a picture placeholder inside.
     */
    public fun generate(text: String): PromptLayout {
        val encoded = encode(Mode.GENERATE, text)
        refusePlaceholders(encoded.encoding.ids, 0)
        return layout(encoded, encoded.encoding.ids, shape(Mode.GENERATE), null, 0)
    }

    /** Tokenises an instruction to change a picture; refusals as for [generate]. */
    public fun edit(text: String): PromptLayout {
        val encoded = encode(Mode.EDIT, text)
        val ids = encoded.encoding.ids
        val shape = shape(Mode.EDIT)
        val at = shape.drop + 1
        refusePlaceholders(ids, at + 2)
        val tokens = prompt.vision.numTokens
        val full = IntArray(ids.size + tokens - 1) {
            if (it < at) {
                ids[it]
            } else if (it < at + tokens) {
                prompt.imageTokenId
            } else {
                ids[it - tokens + 1]
            }
        }
        return layout(encoded, full, shape, at until at + tokens, tokens - 1)
    }

    private class Filled(val encoding: Encoding, val text: String, val end: Int)

    private fun encode(mode: Mode, words: String): Filled {
        checkText(words)
        val frame = frames[mode] ?: throw PromptException("prompt: this bundle was not made for ${mode.key}")
        val text = frame.before + words + frame.after
        return Filled(tokenizer.encode(text), text, text.length - frame.after.length)
    }

    private fun layout(from: Filled, ids: IntArray, shape: PromptShape, image: IntRange?, spread: Int): PromptLayout {
        val valid = minOf(ids.size, shape.tokens)
        val padded = IntArray(shape.tokens) { if (it < valid) ids[it] else padId }
        val mask = FloatArray(shape.states) { if (it < valid - shape.drop) 1f else 0f }
        val cut = ids.size > shape.tokens
        val lost = if (cut) from.text.substring(minOf(from.encoding.starts[shape.tokens - spread], from.end), from.end) else ""
        return PromptLayout(padded, valid, mask, image, lost, cut)
    }

    private fun refusePlaceholders(ids: IntArray, from: Int) {
        for (index in from until ids.size) {
            placeholders[ids[index]]?.let { token ->
                throw PromptException("prompt: contains $token, which stands for a picture; remove it or put a space inside it")
            }
        }
    }

    private fun checkShape(mode: Mode) {
        val entry = entry(mode)
        val (drop, states) = if (mode == Mode.GENERATE) {
            generateDrop() to entry.maxPromptTokens
        } else {
            editDrop() to prompt.vision.numTokens + entry.maxPromptTokens
        }
        if (drop != entry.dropTokens || states != entry.sequenceLength) {
            throw BundleException(
                "prompt: the tokenizer gives ${mode.key} a prefix of $drop and $states states, but the programs were " +
                    "made for ${entry.dropTokens} and ${entry.sequenceLength}. Export the bundle again.",
            )
        }
    }

    private fun checkPrefix(mode: Mode) {
        val expected = entry(mode).prefixTokens
        val frame = frames.getValue(mode)
        val found = tokenizer.encode(frame.before + "x" + frame.after).ids.take(expected.size)
        if (found != expected) {
            throw BundleException(
                "prompt: the tokenizer begins every ${mode.key} prompt with other tokens than those whose keys and values the " +
                    "text encoder holds. Export the bundle again.",
            )
        }
    }

    private fun generateDrop(): Int {
        val frame = frames.getValue(Mode.GENERATE)
        val starts = tokenizer.encode(frame.before + "x" + frame.after).starts
        val drop = starts.count { it < frame.slot }
        if (starts[drop] != frame.slot) {
            throw PromptException("tokenizer: a token reaches across the slot of the generate template; it cannot be cut")
        }
        return drop
    }

    private fun editDrop(): Int {
        val frame = frames.getValue(Mode.EDIT)
        val ids = tokenizer.encode(frame.before + "x" + frame.after).ids.toList()
        val wanted = listOf(VISION_START, IMAGE_PAD, VISION_END).map(needed::getValue)
        val places = ids.windowed(wanted.size).withIndex().filter { it.value == wanted }.map { it.index }
        if (places.size != 1 || ids.count { it in placeholders } != wanted.size) {
            throw PromptException("edit template: found ${places.size} places for a picture; exactly one is supported")
        }
        return places[0]
    }

    private fun entry(mode: Mode) = prompt.modes[mode] ?: throw PromptException("prompt: this bundle was not made for ${mode.key}")

    private fun tokenId(token: String): Int = tokenizer.idOf(token)
        ?: throw PromptException("tokenizer: has no token $token; take tokenizer.json from the checkpoint")

    private class Frame(mode: ModePrompt) {
        private val template = mode.template.split("{}")
        private val wording = mode.wording.split("{}")
        val slot = template[0].length
        val before = template[0] + wording[0]
        val after = wording[1] + template[1]
    }

    private companion object {
        const val IM_START = "<|im_start|>"
        const val IM_END = "<|im_end|>"
        const val PAD = "<|endoftext|>"
        const val VISION_START = "<|vision_start|>"
        const val IMAGE_PAD = "<|image_pad|>"
        const val VISION_END = "<|vision_end|>"
        val PLACEHOLDERS = listOf(VISION_START, VISION_END, IMAGE_PAD, "<|video_pad|>", "<|vision_pad|>")

        fun checkText(text: String) {
            if (text.all(::isPythonSpace)) {
                throw PromptException("prompt: empty; say in words what the picture should show")
            }
            val broken = loneSurrogate(text)
            if (broken >= 0) {
                throw PromptException("prompt: character $broken is half of a surrogate pair, which is no text; write the whole character")
            }
        }

        /** What Python's `str.strip` takes away. */
        fun isPythonSpace(char: Char) = char.isWhitespace() || char == '\u0085' || char in '\u001c'..'\u001f'
    }
}

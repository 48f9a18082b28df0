package dreamlite.core

import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path

/**
 * A whole, sound bundle whose programs are placeholders: the golden manifest's, with its files made anew. [sized]: the
 * one with two sizes, as it is.
 */
internal class FakeBundle(folder: Path, side: Int = 64, width: Int? = null, sized: Boolean = false) {
    val path: Path = Files.createDirectories(folder)
    private var document: Json = Golden.json("manifests.json").let { if (sized) it["sized"]["base"] else it["base"] }

    init {
        if (!sized) resize(side, width)
        val files = document["files"] as Json.Members
        val entries = files.values.mapValues { (name, entry) -> write(name, size(name, entry)) }
        document = document.changed(listOf("files"), Json.Members(entries))
        sign(document)
    }

    /** Replaces the manifest and its digest. */
    fun sign(document: Json, digest: String? = null) {
        val raw = write(document).toByteArray()
        Files.write(path.resolve(MANIFEST_NAME), raw)
        Files.writeString(path.resolve(DIGEST_NAME), "${digest ?: sha256(raw)}  $MANIFEST_NAME\n")
    }

    fun change(vararg place: String, value: Json?) {
        document = document.changed(place.toList(), value)
        sign(document)
    }

    private fun size(name: String, entry: Json): Int {
        val embeddings = document["embeddings"]
        val bytes = TableDtype.entries.single { it.key == embeddings["dtype"].text }.bytes
        return when (name) {
            embeddings["file"].text -> embeddings["rows"].int * embeddings["columns"].int * bytes
            in document["sizes"].all.map { it["step_embeddings"]["file"].text } -> entry["bytes"].int
            else -> PLACEHOLDER
        }
    }

    private fun write(name: String, bytes: Int): Json {
        val file = path.resolve(name)
        Files.createDirectories(file.parent)
        val tokenizer = name == document["prompt"]["tokenizer"].text
        Files.write(file, if (tokenizer) Golden.bytes("tokenizer/tiny/tokenizer.json") else ByteArray(bytes))
        return Json.Members(mapOf("bytes" to number(Files.size(file)), "sha256" to Json.Text(sha256(file))))
    }

    /** Another picture size and, if given, text width: every shape that follows from them. */
    private fun resize(side: Int, width: Int?) {
        set(number(side), "sizes", "0", "width")
        set(number(side), "sizes", "0", "height")
        if (width != null) {
            for (place in WIDTHS) set(number(width), *place)
        }
        for ((name, component) in (document["components"] as Json.Members).values) {
            for ((method, entry) in (component["methods"] as Json.Members).values) {
                for (kind in listOf("inputs", "outputs")) {
                    val tensors = entry[kind].all.map { tensor(it, side, width) }
                    set(Json.Elements(tensors), "components", name, "methods", method, kind)
                }
            }
        }
    }

    private fun tensor(tensor: Json, side: Int, width: Int?): Json {
        val shape = tensor["shape"].ints.toMutableList()
        when (tensor["name"].text) {
            "latents", "condition", "velocity" -> {
                shape[2] = side / SCALE
                shape[3] = side / SCALE
            }
            "image" -> {
                shape[2] = side
                shape[3] = side
            }
            "embeddings", "prompt_states", "deepstack", "image_tokens" -> if (width != null) shape[shape.size - 1] = width
        }
        return tensor.changed(listOf("shape"), Json.Elements(shape.map(::number)))
    }

    private fun set(value: Json, vararg place: String) {
        document = document.changed(place.toList(), value)
    }

    private fun number(value: Number) = Json.Number(value.toString())

    private companion object {
        const val PLACEHOLDER = 300
        const val SCALE = 8
        val WIDTHS = listOf(
            arrayOf("checkpoint", "config", "text", "hidden_size"),
            arrayOf("checkpoint", "config", "vision", "out_hidden_size"),
            arrayOf("checkpoint", "config", "unet", "encoder_hid_dim"),
            arrayOf("prompt", "state_width"),
            arrayOf("embeddings", "columns"),
        )
    }
}

/** Components that compute nothing: outputs are zeros but for [before]'s doing; counts what is opened and closed. */
internal class FakeFactory(private val before: (String, String, Map<String, FloatBuffer>) -> Unit = { _, _, _ -> }) : ComponentFactory {
    val opened = ArrayList<String>()
    val closed = ArrayList<String>()
    val ran = ArrayList<String>()

    override fun open(bundle: Bundle, name: String): Component {
        val methods = bundle.component(name).methods
        opened += name
        return object : Component {
            private val outputs = methods.mapValues { (_, method) -> method.outputs.associate { it.name to floatBuffer(it.count) } }

            override fun load(method: String) = check(method in methods)

            override fun run(method: String, inputs: Map<String, FloatBuffer>): Map<String, FloatBuffer> {
                checkInputs(name, methods.getValue(method), inputs)
                before(name, method, inputs)
                ran += name
                return outputs.getValue(method)
            }

            override fun close() {
                closed += name
            }
        }
    }
}

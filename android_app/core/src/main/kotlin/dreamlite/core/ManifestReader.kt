package dreamlite.core

private val SHA256 = Regex("[0-9a-f]{64}")
private val PATH_PART = Regex("[A-Za-z0-9_][A-Za-z0-9._-]*")
private const val PATH_LIMIT = 240
private const val MOST_BYTES = 1L shl 40 // of one file: sums and multiples stay far within a Long
private val PRECISIONS = setOf("fp32", "fp16", "w8a16", "w4a16", "w8a8mix", "w8", "p6", "w4", "p4").associateWith { it }
private val UNITS = setOf("all", "cpu_and_neural_engine", "cpu_and_gpu", "cpu_only").associateWith { it }
private val MODES = Mode.entries.associateBy { it.key }
private val ONE_OR_MORE = 1..Int.MAX_VALUE
private val ANY = 0..Int.MAX_VALUE

/**
 * Reads a `manifest.json`.
 *
 * @throws BundleException listing everything that is wrong: not plain JSON, another schema version, unknown or missing
 *   keys, values out of range, shapes or paths that do not agree.
 */
public fun readManifest(bytes: ByteArray): Manifest {
    val text = strictUtf8(bytes) ?: throw BundleException("manifest.json: not valid JSON: not UTF-8. $AGAIN")
    val document = try {
        parseJson(text)
    } catch (problem: JsonProblem) {
        throw BundleException("manifest.json: ${problem.message}. $AGAIN", problem)
    }
    return readManifest(document)
}

/** Reads a parsed manifest; refusals as above. */
internal fun readManifest(document: Json): Manifest {
    checkVersion(document)
    val problems = Problems()
    val manifest = try {
        readManifest(Node(document, "", problems))
    } catch (_: Unreadable) {
        null
    }
    if (manifest != null && !problems.any) manifestProblems(manifest).forEach { problems.add("", it) }
    if (manifest == null || problems.any) throw BundleException("manifest.json: $problems. $AGAIN")
    return manifest
}

internal const val AGAIN = "Copy or export the bundle again."

private fun checkVersion(document: Json) {
    if (document !is Json.Members) throw BundleException("manifest.json: not an object. $AGAIN")
    val found = (document.values["schema_version"] as? Json.Number)?.text?.toBigIntegerOrNull() ?: return
    val known = Manifest.SCHEMA_VERSION.toBigInteger()
    if (found == known) return
    val mend = if (found > known) "Update the app." else "Export the bundle again."
    throw BundleException("manifest.json: schema version $found, this app reads version $known. $mend")
}

private fun readManifest(node: Node): Manifest = node.members {
    get("schema_version").long(Manifest.SCHEMA_VERSION.toLong(), Manifest.SCHEMA_VERSION.toLong())
    val (schedule, defaultSteps) = get("scheduler").members {
        readSchedule() to get("default_steps").long(1, Manifest.MAX_STEPS.toLong()).toInt()
    }
    Manifest(
        tools = readTools(get("tools")),
        checkpoint = readCheckpoint(get("checkpoint")),
        backend = get("backend").choice(Backend.entries.associateBy { it.key }),
        target = get("target").text(),
        sizes = readSizes(get("sizes")),
        modes = get("modes").list(1..2) { it.choice(MODES) },
        components = get("components").map(1) { _, value -> readComponent(value) },
        prompt = readPrompt(get("prompt")),
        embeddings = optional("embeddings", ::readEmbeddings),
        schedule = schedule,
        defaultSteps = defaultSteps,
        vae = readVaeEntry(get("vae")),
        noise = get("noise").text(),
        licence = get("licence").text(),
        needs = readNeeds(get("needs")),
        htp = optional("htp", ::readHtp),
        documents = default("documents", emptyList()) { it.list(ANY, ::path) },
        files = get("files").map(1, ::readFile),
        hasCoreMl = optional("coreml", ::readCoreMl) != null,
    )
}

private fun path(node: Node): String = node.text().also { checkPath(it, node) }

private fun checkPath(path: String, node: Node) {
    val plain = path.split("/").all { PATH_PART.matches(it) && !it.endsWith(".") }
    if (path.length > PATH_LIMIT) {
        node.problem("a path of ${path.length} characters is longer than $PATH_LIMIT")
    } else if (!plain) {
        node.problem("path '$path' is not a plain relative path inside the bundle")
    }
}

private fun readFile(name: String, node: Node): FileEntry {
    checkPath(name, node)
    return node.members { FileEntry(get("bytes").long(0, MOST_BYTES), get("sha256").pattern(SHA256, "64 hexadecimal digits")) }
}

private fun readTools(node: Node): Map<String, String> = node.members {
    val required = listOf("dreamlite_mobile", "python", "torch").associateWith { get(it).text() }
    val others = listOf("executorch", "torchao", "onnx", "onnxruntime", "coremltools")
    required + others.mapNotNull { key -> optional(key) { it.text() }?.let { key to it } }
}

private fun readCheckpoint(node: Node) = node.members {
    CheckpointIdentity(
        source = get("source").text(),
        revision = optional("revision") { it.text() },
        sha256 = get("sha256").pattern(SHA256, "64 hexadecimal digits"),
        config = readModelConfig(get("config")),
    )
}

private fun readSizes(node: Node): List<SizeEntry> {
    val sizes = node.list(1..Manifest.MOST_SIZES, ::readSize)
    return sizes.ifEmpty { throw Unreadable() }
}

private fun readSize(node: Node) = node.members {
    SizeEntry(
        width = get("width").int(1),
        height = get("height").int(1),
        sigmas = get("sigmas").map(1) { key, value -> readSigmas(key, value) }.mapKeys { it.key.toIntOrNull() ?: 0 },
        stepEmbeddings = optional("step_embeddings", ::readStepTable),
    )
}

private fun readSigmas(key: String, node: Node): List<Double> {
    val steps = if (key.matches(Regex("[1-9][0-9]?"))) key.toInt() else 0
    if (steps !in 1..Manifest.MAX_STEPS) node.problem("steps must be in 1...${Manifest.MAX_STEPS}")
    val sigmas = node.list(2..Manifest.MAX_STEPS + 1) { it.double() }
    if (sigmas.size > Manifest.MAX_STEPS + 1) node.problem("must hold at most ${Manifest.MAX_STEPS + 1} values")
    val falls = sigmas.zipWithNext().all { (a, b) -> a > b }
    if (sigmas.isEmpty() || !falls || sigmas.first() > 1.0 || sigmas.last() != 0.0) {
        node.problem("sigmas must fall strictly from at most 1 to exactly 0")
    }
    return sigmas
}

private fun readStepTable(node: Node) = node.members {
    default("rows", Unit) { it.long(Manifest.STEP_ROWS.toLong(), Manifest.STEP_ROWS.toLong()) }
    default("dtype", Unit) { it.choice(mapOf("float32" to Unit)) }
    default("row_rule", Unit) { it.choice(mapOf("steps*(steps-1)/2 + i" to Unit)) }
    StepTable(path(get("file")), get("columns").int(1))
}

private fun readEmbeddings(node: Node) = node.members {
    EmbeddingsEntry(
        file = path(get("file")),
        rows = get("rows").int(1),
        columns = get("columns").int(1),
        dtype = get("dtype").choice(TableDtype.entries.associateBy { it.key }),
    )
}

private fun readComponent(node: Node) = node.members {
    ComponentEntry(
        files = get("files").list(ONE_OR_MORE, ::path),
        precision = get("precision").choice(PRECISIONS),
        methods = get("methods").map(1) { _, value -> readMethod(value) },
    )
}

private fun readMethod(node: Node) = node.members {
    optional("delegates") { delegates ->
        delegates.members {
            get("count").long(0)
            default("operators_outside", Unit) { it.list(ANY) { name -> name.text() } }
        }
    }
    optional("traffic", ::readTraffic)
    MethodEntry(
        file = path(get("file")),
        then = default("then", emptyList()) { it.list(ANY, ::path) },
        inputs = get("inputs").list(ONE_OR_MORE, ::readTensor),
        outputs = get("outputs").list(ONE_OR_MORE, ::readTensor),
        shards = default("shards", emptyList()) { it.list(ANY, ::readShard) },
    )
}

private fun readTraffic(node: Node) = node.members {
    for (key in listOf("read_bytes", "written_bytes", "spilled_bytes", "filled_bytes")) get(key).long(0)
}

private fun readShard(node: Node) = node.members {
    optional("traffic", ::readTraffic)
    ShardEntry(get("inputs").list(ONE_OR_MORE, ::readHanded), get("outputs").list(ONE_OR_MORE, ::readHanded))
}

private fun readHanded(node: Node) = node.members {
    val dtype = get("dtype").choice(HandedDtype.entries.associateBy { it.key })
    HandedSpec(get("name").text(), dtype, readShape(get("shape")))
}

private fun readTensor(node: Node) = node.members {
    default("dtype", Unit) { it.choice(mapOf("float32" to Unit)) }
    TensorSpec(get("name").text(), readShape(get("shape")))
}

private fun readShape(shape: Node): List<Int> {
    val sides = shape.list(1..5) { it.int(1) }
    if (sides.size > 5) shape.problem("must have at most 5 sides")
    if (sides.fold(1L) { product, side -> minOf(product * side, Int.MAX_VALUE + 1L) } * 4 > Int.MAX_VALUE) {
        shape.problem("a tensor of 2 GiB or more is not supported on a phone")
    }
    return sides
}

internal fun readPrompt(node: Node) = node.members {
    PromptEntry(
        tokenizer = path(get("tokenizer")),
        stateWidth = get("state_width").int(1),
        modes = get("modes").map(0) { key, value ->
            if (key !in MODES) value.problem("is not one of ${MODES.keys.joinToString()}")
            readModePrompt(value)
        }.mapNotNull { (key, value) -> MODES[key]?.let { it to value } }.toMap(),
        imageTokenId = get("image_token_id").int(0),
        visionStartTokenId = get("vision_start_token_id").int(0),
        visionEndTokenId = get("vision_end_token_id").int(0),
        padTokenId = get("pad_token_id").int(0),
        vision = readVisionEntry(get("vision")),
    )
}

private fun readModePrompt(node: Node) = node.members {
    val prompt = ModePrompt(
        template = get("template").text(),
        wording = get("wording").text(),
        dropTokens = get("drop_tokens").int(0),
        inputLength = get("input_length").int(1),
        sequenceLength = get("sequence_length").int(1),
        maxPromptTokens = get("max_prompt_tokens").int(1),
        prefixTokens = default("prefix_tokens", emptyList()) { it.list(ANY) { id -> id.int(0) } },
    )
    if (prompt.prefixTokens.isNotEmpty() && prompt.prefixTokens.size != prompt.dropTokens) {
        problem("prefix_tokens are ${prompt.prefixTokens.size}, drop_tokens ${prompt.dropTokens}")
    }
    if (prompt.inputLength - prompt.dropTokens != prompt.sequenceLength) {
        problem("input_length ${prompt.inputLength} - drop_tokens ${prompt.dropTokens} is not sequence_length ${prompt.sequenceLength}")
    }
    for ((field, text) in listOf("template" to prompt.template, "wording" to prompt.wording)) {
        if (text.split("{}").size != 2) problem("$field must hold exactly one '{}'")
    }
    prompt
}

internal fun readVisionEntry(node: Node) = node.members {
    val vision = VisionEntry(
        pictureSize = get("picture_size").int(1),
        patchSize = get("patch_size").int(1),
        mergeSize = get("merge_size").int(1),
        mean = get("mean").list(3..3) { it.double() },
        std = get("std").list(3..3) { it.double().also { value -> if (value <= 0) problem("std must be greater than 0") } },
        deepstackCount = get("deepstack_count").int(1),
    )
    val step = vision.patchSize.toLong() * vision.mergeSize
    if (step == 0L || vision.pictureSize % step != 0L) {
        problem("picture_size ${vision.pictureSize} is not a multiple of patch_size * merge_size $step")
    }
    vision
}

private fun readVaeEntry(node: Node) = node.members {
    VaeEntry(
        scale = get("scale").int(1),
        latentChannels = get("latent_channels").int(1),
        scalingFactor = get("scaling_factor").double().also { if (it <= 0) problem("scaling_factor must be greater than 0") },
        shiftFactor = get("shift_factor").double(),
    )
}

private fun readNeeds(node: Node) = node.members {
    for (key in listOf("ios", "macos")) optional(key) { it.pattern(Regex("\\p{Nd}+\\.\\p{Nd}+"), "a version like 18.0") }
    Needs(
        executorch = optional("executorch") { it.text() },
        onnxruntime = optional("onnxruntime") { it.text() },
        qnn = optional("qnn") { it.pattern(Regex("\\p{Nd}+\\.\\p{Nd}+\\.\\p{Nd}+"), "a version like 2.49.0") },
    )
}

private fun readHtp(node: Node) = node.members {
    optional("calibration") { calibration ->
        calibration.members {
            get("pictures").int(1)
            get("steps").int(1)
            get("sha256").pattern(SHA256, "64 hexadecimal digits")
        }
    }
    HtpEntry(
        soc = get("soc").text(),
        chipset = get("chipset").int(1),
        architecture = get("architecture").pattern(Regex("V\\p{Nd}+"), "a version like V75"),
        vtcmMb = get("vtcm_mb").int(1),
        qnnBuild = get("qnn_build").text(),
        sharedWeights = get("shared_weights").truth(),
    )
}

private fun readCoreMl(node: Node) = node.members {
    get("compute_units").choice(UNITS)
    get("package_limit_bytes").long(1)
}

package dreamlite.core

public const val MANIFEST_NAME: String = "manifest.json"
public const val DIGEST_NAME: String = "manifest.sha256"

/** Every inconsistency of a manifest whose fields are well-formed one by one; empty when it is sound. */
internal fun manifestProblems(manifest: Manifest): List<String> = buildList {
    agreement(manifest)
    chip(manifest)
    modes(manifest)
    for (size in manifest.sizes) size(manifest, size)
    if (manifest.sizes.distinctBy { it.sides }.size != manifest.sizes.size) add("sizes ${manifest.sizes.map { it.sides }} repeat")
    if (isEmpty()) components(manifest)
    tables(manifest)
    paths(manifest)
}

/** Every path some part of the manifest reads. */
internal fun referencedFiles(manifest: Manifest): Set<String> = buildSet {
    add(manifest.prompt.tokenizer)
    addAll(manifest.documents)
    for (component in manifest.components.values) {
        addAll(component.files)
        for (method in component.methods.values) {
            add(method.file)
            addAll(method.then)
        }
    }
    manifest.embeddings?.let { add(it.file) }
    for (size in manifest.sizes) size.stepEmbeddings?.let { add(it.file) }
}

/** The folders above a relative path, outermost first. */
internal fun parents(path: String): List<String> = path.indices.filter { path[it] == '/' }.map { path.substring(0, it) }

/** The sections written out for readers in other languages must repeat the checkpoint's configuration. */
private fun MutableList<String>.agreement(manifest: Manifest) {
    val (prompt, vae, config) = Triple(manifest.prompt, manifest.vae, manifest.checkpoint.config)
    val (vision, text) = config.vision to config.text
    fun same(section: String, found: Any, expected: Any) {
        if (found != expected) add("$section is $found, the checkpoint's configuration gives $expected")
    }
    same("prompt.state_width", prompt.stateWidth, text.hiddenSize)
    same("prompt.image_token_id", prompt.imageTokenId, text.imageTokenId)
    same("prompt.vision_start_token_id", prompt.visionStartTokenId, text.visionStartTokenId)
    same("prompt.vision_end_token_id", prompt.visionEndTokenId, text.visionEndTokenId)
    same("prompt.vision.picture_size", prompt.vision.pictureSize, vision.imageSize)
    same("prompt.vision.patch_size", prompt.vision.patchSize, vision.patchSize)
    same("prompt.vision.merge_size", prompt.vision.mergeSize, vision.mergeSize)
    same("prompt.vision.mean", prompt.vision.mean, vision.mean)
    same("prompt.vision.std", prompt.vision.std, vision.std)
    same("prompt.vision.deepstack_count", prompt.vision.deepstackCount, vision.deepstackLayers.size)
    same("vae.scale", vae.scale, config.vae.scale)
    same("vae.latent_channels", vae.latentChannels, config.vae.latentChannels)
    same("vae.scaling_factor", vae.scalingFactor, config.vae.scalingFactor)
    same("vae.shift_factor", vae.shiftFactor, config.vae.shiftFactor)
    same("scheduler", manifest.schedule, config.scheduler)
}

private fun MutableList<String>.chip(manifest: Manifest) {
    val backend = manifest.backend
    if ((manifest.htp != null) != (backend == Backend.QNN)) {
        add("htp is ${if (manifest.htp != null) "given" else "missing"} for backend ${backend.key}")
    }
    if (manifest.hasCoreMl != (backend == Backend.COREML)) {
        add("coreml is ${if (manifest.hasCoreMl) "given" else "missing"} for backend ${backend.key}")
    }
    if (manifest.htp != null && manifest.htp.soc != manifest.target) {
        add("target is ${manifest.target}, htp is for ${manifest.htp.soc}")
    }
}

private fun MutableList<String>.modes(manifest: Manifest) {
    if (manifest.modes.toSet().size != manifest.modes.size) add("modes ${manifest.modes.map { it.key }} repeat")
    val (found, expected) = manifest.prompt.modes.keys to manifest.modes.toSet()
    if (found != expected) add("prompt.modes has ${found.map { it.key }}, modes has ${expected.map { it.key }}")
}

private fun MutableList<String>.size(manifest: Manifest, size: SizeEntry) {
    val scale = manifest.vae.scale
    if (size.width % scale != 0 || size.height % scale != 0) add("size ${size.sides} is not a multiple of vae.scale $scale")
    if (manifest.defaultSteps !in size.sigmas) add("sigmas of ${size.sides} lack the default of ${manifest.defaultSteps} steps")
    for ((steps, sigmas) in size.sigmas) {
        if (sigmas.size != steps + 1) add("sigmas of ${size.sides}, $steps steps, hold ${sigmas.size} values, expected ${steps + 1}")
    }
}

private fun MutableList<String>.components(manifest: Manifest) {
    val shapes = componentShapes(manifest)
    for ((name, component) in manifest.components) {
        val expected = shapes[name]
        when {
            expected == null -> add("component '$name' is not one of ${shapes.keys.joinToString()}")
            component.methods.keys != expected.keys ->
                add(
                    "$name has methods ${component.methods.keys.sorted()}, expected for " +
                        "${manifest.sizes.joinToString { "${it.sides}" }}: ${expected.keys.sorted()}",
                )
            else -> methods(name, component, expected)
        }
    }
}

private fun MutableList<String>.methods(name: String, component: ComponentEntry, expected: Map<String, MethodShape>) {
    for ((method, entry) in component.methods) {
        tensors("$name.$method inputs", entry.inputs, expected.getValue(method).inputs)
        tensors("$name.$method outputs", entry.outputs, expected.getValue(method).outputs)
        for (file in listOf(entry.file) + entry.then) {
            if (file !in component.files) add("$name.$method reads '$file', which $name.files does not list")
        }
        if (entry.shards.isNotEmpty()) shards("$name.$method", entry)
    }
}

/** A chain must take only what is there by then, and end with what the method gives. */
private fun MutableList<String>.shards(where: String, entry: MethodEntry) {
    val programs = 1 + entry.then.size
    if (entry.shards.size != programs) add("$where has $programs programs and describes ${entry.shards.size} shards")
    val known = entry.inputs.associateTo(HashMap()) { it.name to handed(it) }
    entry.shards.forEachIndexed { index, shard ->
        for (spec in shard.inputs) {
            if (known[spec.name] != spec) add("$where: shard ${index + 1} takes '${spec.name}', which nothing before it gives in that form")
        }
        shard.outputs.associateByTo(known) { it.name }
    }
    for (wanted in entry.outputs) {
        if (known[wanted.name] != handed(wanted)) add("$where: no shard gives its output '${wanted.name}' in that shape and dtype")
    }
}

private fun handed(spec: TensorSpec) = HandedSpec(spec.name, HandedDtype.FLOAT32, spec.shape)

private fun MutableList<String>.tensors(where: String, found: List<TensorSpec>, expected: List<TensorSpec>) {
    fun words(specs: List<TensorSpec>) = specs.joinToString { "${it.name} ${it.shape}" }
    if (found != expected) add("$where are ${words(found)}; its size and prompt need ${words(expected)}")
}

private fun MutableList<String>.tables(manifest: Manifest) {
    val (embeddings, config) = manifest.embeddings to manifest.checkpoint.config
    for (size in manifest.sizes) {
        val steps = size.stepEmbeddings
        if ("unet" in manifest.components && steps == null) add("unet needs the step_embeddings table of size ${size.sides}")
        if (steps != null && steps.columns != config.unet.timeEmbedDim) {
            add("step_embeddings have ${steps.columns} columns, expected ${config.unet.timeEmbedDim}")
        }
    }
    val files = manifest.sizes.mapNotNull { it.stepEmbeddings?.file }
    if (files.toSet().size != files.size) add("two sizes name one step_embeddings file: ${files.joinToString()}")
    if ("text_encoder" in manifest.components && embeddings == null) add("text_encoder needs the embeddings table")
    if (embeddings != null) {
        val (found, expected) = (embeddings.rows to embeddings.columns) to (config.text.vocabSize to config.text.hiddenSize)
        if (found != expected) add("embeddings are $found, expected $expected")
        if (manifest.prompt.padTokenId >= embeddings.rows) {
            add("prompt.pad_token_id ${manifest.prompt.padTokenId} is outside the embeddings table")
        }
    }
    val tables = manifest.sizes.mapNotNull { it.stepEmbeddings }.map { it.file to it.nbytes }
    for ((file, bytes) in tables + listOfNotNull(embeddings?.let { it.file to it.nbytes })) {
        val entry = manifest.files[file] ?: continue
        if (entry.bytes != bytes) add("file $file holds ${entry.bytes} bytes, its rows and columns need $bytes")
    }
}

private fun MutableList<String>.paths(manifest: Manifest) {
    val (listed, used) = manifest.files.keys to referencedFiles(manifest)
    for (path in (used - listed).sorted()) add("'$path' is used but not listed in files")
    for (path in (listed - used).sorted()) add("'$path' is listed in files but nothing uses it")
    val seen = HashMap<String, String>()
    for (path in listed.sorted()) {
        val folded = path.lowercase()
        val other = seen.getOrPut(folded) { path }
        if (other != path) add("'$path' and '$other' are one file where case is ignored")
        if (folded == MANIFEST_NAME || folded == DIGEST_NAME) add("'$path' is the manifest itself")
        for (parent in parents(path)) if (parent in listed) add("'$parent' is listed both as a file and as a folder")
    }
}

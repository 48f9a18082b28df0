package dreamlite.app.data

import android.content.ContentResolver
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import android.provider.OpenableColumns
import dreamlite.core.BundleSource
import dreamlite.core.ZipSource
import java.io.IOException
import java.io.InputStream

/** A folder that the system's picker gave. */
class TreeSource(private val resolver: ContentResolver, private val tree: Uri) : BundleSource {
    override fun read(each: (String, InputStream) -> Boolean) {
        walk(DocumentsContract.getTreeDocumentId(tree), "", each)
    }

    /** Whether to go on. */
    private fun walk(folder: String, prefix: String, each: (String, InputStream) -> Boolean): Boolean {
        for (child in children(folder)) {
            val name = prefix + child.name
            val goOn = if (child.isFolder) walk(child.id, "$name/", each) else open(child.id, name).use { each(name, it) }
            if (!goOn) return false
        }
        return true
    }

    private class Child(val id: String, val name: String, val isFolder: Boolean)

    private fun children(folder: String): List<Child> {
        val uri = DocumentsContract.buildChildDocumentsUriUsingTree(tree, folder)
        val columns = arrayOf(Document.COLUMN_DOCUMENT_ID, Document.COLUMN_DISPLAY_NAME, Document.COLUMN_MIME_TYPE)
        val cursor = resolver.query(uri, columns, null, null, null) ?: throw IOException("the folder cannot be listed")
        return cursor.use {
            List(it.count) { row ->
                it.moveToPosition(row)
                Child(it.getString(0), it.getString(1), it.getString(2) == Document.MIME_TYPE_DIR)
            }
        }.sortedBy { child -> child.name }
    }

    private fun open(id: String, name: String): InputStream =
        resolver.openInputStream(DocumentsContract.buildDocumentUriUsingTree(tree, id)) ?: throw IOException("'$name' cannot be opened")
}

/** Bundles where the user pointed at them. */
class PickedSources(private val resolver: ContentResolver) {
    fun open(from: ImportFrom): BundleSource = when (from.kind) {
        ImportFrom.Kind.PUSHED -> Imports.pushedSource(from)
        ImportFrom.Kind.TREE -> TreeSource(resolver, Uri.parse(from.place))
        ImportFrom.Kind.ZIP -> ZipSource {
            resolver.openInputStream(Uri.parse(from.place)) ?: throw IOException("the zip cannot be opened")
        }
    }

    /** What the picked thing is called; it names the bundle. */
    fun nameOf(uri: Uri, isTree: Boolean): String {
        val document = if (isTree) DocumentsContract.buildDocumentUriUsingTree(uri, DocumentsContract.getTreeDocumentId(uri)) else uri
        val found = resolver.query(document, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)
            ?.use { if (it.moveToFirst()) it.getString(0) else null }
        return found ?: uri.lastPathSegment.orEmpty()
    }
}

package dreamlite.app.ui

import dreamlite.app.model.Event
import dreamlite.app.model.HistoryEntry
import java.nio.file.Path

/** What screens ask for; the activity and the view model do it. */
interface Actions {
    fun tell(event: Event)

    fun roll()

    fun run()

    fun stop()

    fun pickPhoto()

    fun takePhoto()

    fun editAgain(entry: HistoryEntry)

    fun save(entry: HistoryEntry)

    fun share(entry: HistoryEntry)

    fun delete(entry: HistoryEntry)

    fun importFolder()

    fun importZip()

    fun importPushed(path: String)

    fun deleteBundle(name: String)

    fun refresh()
}

/** Where the pictures of an entry lie. */
interface PictureFiles {
    fun picture(entry: HistoryEntry): Path

    fun thumb(entry: HistoryEntry): Path

    /** Null but for edits. */
    fun source(entry: HistoryEntry): Path?
}

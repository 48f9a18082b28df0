package dreamlite.app.ui

import androidx.annotation.StringRes
import dreamlite.app.R
import dreamlite.app.model.Notice
import dreamlite.app.model.Page

@StringRes
fun titleOf(page: Page): Int = when (page) {
    Page.STUDIO -> R.string.page_studio
    Page.HISTORY -> R.string.page_history
    Page.MODELS -> R.string.page_models
    Page.PHONE -> R.string.page_phone
}

fun iconOf(page: Page): Int = when (page) {
    Page.STUDIO -> R.drawable.ic_studio
    Page.HISTORY -> R.drawable.ic_history
    Page.MODELS -> R.drawable.ic_models
    Page.PHONE -> R.drawable.ic_phone
}

/** Components as people call what they do; what is not known is shown as it is. */
@StringRes
fun wordsOf(stage: String): Int? = when (stage) {
    "vision_encoder" -> R.string.stage_vision_encoder
    "text_encoder" -> R.string.stage_text_encoder
    "vae_encoder" -> R.string.stage_vae_encoder
    "unet" -> R.string.stage_unet
    "vae_decoder" -> R.string.stage_vae_decoder
    "loading" -> R.string.stage_loading
    else -> null
}

@StringRes
fun titleOf(kind: Notice.Kind): Int = when (kind) {
    Notice.Kind.CUT -> R.string.notice_cut
    Notice.Kind.STOPPED -> R.string.notice_stopped
    Notice.Kind.INTERRUPTED -> R.string.notice_interrupted
    Notice.Kind.SAVED -> R.string.notice_saved
    Notice.Kind.NOT_SAVED -> R.string.notice_not_saved
    Notice.Kind.NO_BUNDLE -> R.string.notice_no_bundle
    Notice.Kind.BAD_SEED -> R.string.notice_bad_seed
    Notice.Kind.BAD_PICTURE -> R.string.notice_bad_picture
    Notice.Kind.BAD_BUNDLE -> R.string.notice_bad_bundle
    Notice.Kind.WRONG_SOC -> R.string.notice_wrong_soc
    Notice.Kind.QNN_TOO_OLD -> R.string.notice_qnn_too_old
    Notice.Kind.OUT_OF_MEMORY -> R.string.notice_out_of_memory
    Notice.Kind.MISSING_OPERATOR -> R.string.notice_missing_operator
    Notice.Kind.FAILED -> R.string.notice_failed
}

/** Whether it is good news or plain; the others are shown as errors. */
fun isCalm(kind: Notice.Kind): Boolean = kind in setOf(Notice.Kind.SAVED, Notice.Kind.STOPPED, Notice.Kind.CUT, Notice.Kind.INTERRUPTED)

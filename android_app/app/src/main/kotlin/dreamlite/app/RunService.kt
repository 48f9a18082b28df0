package dreamlite.app

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.app.Service
import android.content.Context
import android.content.Intent
import android.content.pm.ServiceInfo
import android.os.Build
import android.os.IBinder
import androidx.core.app.NotificationCompat
import androidx.core.app.ServiceCompat
import dreamlite.app.data.service
import dreamlite.app.model.RunView

/** Keeps the process while it draws, and lets the run be seen and stopped from outside. */
interface RunNotifier {
    fun show(run: RunView, stop: () -> Unit)

    fun hide()
}

/** Over the foreground service; a phone that refuses one now (from the background) draws without. */
class ServiceNotifier(private val context: Context) : RunNotifier {
    override fun show(run: RunView, stop: () -> Unit) {
        RunService.stop = stop
        val intent = Intent(context, RunService::class.java)
            .putExtra(RunService.STEP, run.step).putExtra(RunService.STEPS, run.steps).putExtra(RunService.COOLING, run.cooling)
        try {
            context.startForegroundService(intent)
        } catch (_: IllegalStateException) {
            return
        }
    }

    override fun hide() {
        RunService.stop = null
        // Not stopService: a service that is stopped before it came to the foreground takes the app down.
        try {
            context.startService(Intent(context, RunService::class.java).setAction(RunService.HIDE))
        } catch (_: IllegalStateException) {
            context.stopService(Intent(context, RunService::class.java))
        }
    }
}

class RunService : Service() {
    override fun onBind(intent: Intent?): IBinder? = null

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        when (intent?.action) {
            STOP -> stop?.invoke()
            HIDE -> stopSelf()
            else -> ServiceCompat.startForeground(this, ID, notification(intent), type())
        }
        return START_NOT_STICKY
    }

    /** From Android 15 on work of this kind has six hours a day; who goes on is ended with an error. */
    override fun onTimeout(startId: Int, fgsType: Int) {
        stop?.invoke()
        stopSelf()
    }

    /** What the work is: known by its name from Android 15 on, data to work on before. */
    private fun type(): Int = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.VANILLA_ICE_CREAM) {
        ServiceInfo.FOREGROUND_SERVICE_TYPE_MEDIA_PROCESSING
    } else {
        ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC
    }

    private fun notification(intent: Intent?): Notification {
        service<NotificationManager>().createNotificationChannel(
            NotificationChannel(CHANNEL, getString(R.string.channel), NotificationManager.IMPORTANCE_LOW),
        )
        val (step, steps) = (intent?.getIntExtra(STEP, 0) ?: 0) to (intent?.getIntExtra(STEPS, 0) ?: 0)
        val cooling = intent?.getBooleanExtra(COOLING, false) ?: false
        val immutable = PendingIntent.FLAG_IMMUTABLE
        val open = PendingIntent.getActivity(this, 0, Intent(this, MainActivity::class.java), immutable)
        val stop = PendingIntent.getService(this, 1, Intent(this, RunService::class.java).setAction(STOP), immutable)
        return NotificationCompat.Builder(this, CHANNEL)
            .setSmallIcon(R.drawable.ic_studio)
            .setContentTitle(getString(if (cooling) R.string.cooling else R.string.drawing))
            .setContentText(if (step > 0) getString(R.string.step_of, step, steps) else getString(R.string.preparing))
            .setProgress(steps, step, step == 0)
            .setContentIntent(open)
            .addAction(R.drawable.ic_stop, getString(R.string.stop), stop)
            .setOngoing(true)
            .setOnlyAlertOnce(true)
            .build()
    }

    companion object {
        const val STEP = "step"
        const val STEPS = "steps"
        const val COOLING = "cooling"
        const val STOP = "dreamlite.app.STOP"
        const val HIDE = "dreamlite.app.HIDE"
        private const val CHANNEL = "runs"
        private const val ID = 1

        /** Ends the run that goes on, where there is one. */
        @Volatile
        internal var stop: (() -> Unit)? = null
    }
}

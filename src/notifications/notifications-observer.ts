/** What telling customers tells about itself; metrics implement it, notifications know no metrics. */
export interface NotificationsObserver {
  /** An attempt of a webhook ended: `2xx` and so on for an answer, else why there was none. */
  webhookAttempted(outcome: string, durationMs: number): void;
  emailAttempted(outcome: EmailOutcome): void;
}

export type EmailOutcome = 'sent' | 'retried' | 'failed';

export const NOTIFICATIONS_OBSERVER = Symbol('NOTIFICATIONS_OBSERVER');

export const silentNotificationsObserver: NotificationsObserver = {
  webhookAttempted: () => undefined,
  emailAttempted: () => undefined,
};

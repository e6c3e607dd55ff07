/** What notifications report about themselves. Metrics implement it, so that notifications do not depend on metrics. */
export interface NotificationsObserver {
  /** Called when an attempt to deliver a webhook ends. `outcome` is `2xx` and so on for an answer, or the reason why there was none. */
  webhookAttempted(outcome: string, durationMs: number): void;
  emailAttempted(outcome: EmailOutcome): void;
}

export type EmailOutcome = 'sent' | 'retried' | 'failed';

export const NOTIFICATIONS_OBSERVER = Symbol('NOTIFICATIONS_OBSERVER');

export const silentNotificationsObserver: NotificationsObserver = {
  webhookAttempted: () => undefined,
  emailAttempted: () => undefined,
};

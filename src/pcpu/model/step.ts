/** What became of a task after one event. */
export const STEP = { goOn: 0, compute: 1, gone: 2, yielded: 3, moved: 4 } as const;
export type Step = (typeof STEP)[keyof typeof STEP];

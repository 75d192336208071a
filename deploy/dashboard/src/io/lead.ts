// One page at a time: two pages of one browser would fight over the broker's session and write over each other's notes.

const NAME = "ulna-dashboard";

/**
 * Asks to be the page that runs. `steal` takes that over from another one. Resolves to false when another page runs; calls
 * `lost` when another page took over later.
 */
export function lead(steal: boolean, lost: () => void): Promise<boolean> {
  // Without a secure context there are no locks, and no way to know.
  if (!("locks" in navigator)) return Promise.resolve(true);
  return new Promise((resolve) => {
    const hold = (lock: Lock | null): Promise<void> => {
      resolve(lock !== null);
      return lock ? new Promise(() => undefined) : Promise.resolve();
    };
    navigator.locks.request(NAME, steal ? { steal: true } : { ifAvailable: true }, hold).catch(lost);
  });
}

// Cross-origin isolation, without which a browser allows no threads, on hosts that do not set its headers.

const TRIED = "isolation-tried";
const PATIENCE_MS = 5000;

// Reloads the page once under a service worker that sets them, unless it is in use by then. Where that is not possible,
// one thread is used.
export async function isolate(inUse) {
  if (globalThis.crossOriginIsolated || navigator.serviceWorker === undefined || sessionStorage.getItem(TRIED)) return;
  try {
    await navigator.serviceWorker.register(new URL("../isolation.js", import.meta.url));
    const active = await Promise.race([navigator.serviceWorker.ready, new Promise((end) => { setTimeout(end, PATIENCE_MS); })]);
    if (active === undefined || inUse()) return;
    sessionStorage.setItem(TRIED, "yes");
    location.reload();
    await new Promise(() => {}); // until the page has gone
  } catch {
    // The browser or the host does not allow it.
  }
}

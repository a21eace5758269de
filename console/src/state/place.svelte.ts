// Where in the page we are. The address bar is the only place where that is kept.
import { address, parse, type Place, type Route } from '../lib/route';

class Here {
  place = $state<Place>(parse(location.hash));

  constructor() {
    addEventListener('hashchange', () => (this.place = parse(location.hash)));
  }

  get route(): Route {
    return this.place.route;
  }

  get query(): URLSearchParams {
    return this.place.query;
  }

  go(route: Route, query?: URLSearchParams): void {
    location.hash = address(route, query);
  }

  /** Changes what the page is set to, without a step in the browser's history for each letter that is typed. */
  set(query: URLSearchParams): void {
    history.replaceState(null, '', address(this.route, query));
    this.place = parse(location.hash);
  }
}

export const here = new Here();

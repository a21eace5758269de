// Addresses within the page: `#/incidents/ID?step=2`. Whatever a page can be set to stands in its address.

export type Route =
  | { page: 'queue' }
  | { page: 'new' }
  | { page: 'fleet' }
  | { page: 'incident'; id: string }
  | { page: 'record'; id: string }
  | { page: 'lost' };

export interface Place {
  route: Route;
  query: URLSearchParams;
}

const ID = /^[A-Za-z0-9._~-]{1,128}$/;

/** Reads the part of an address behind `#`. */
export function parse(hash: string): Place {
  const text = hash.replace(/^#/, '');
  const at = text.indexOf('?');
  const path = at < 0 ? text : text.slice(0, at);
  const query = new URLSearchParams(at < 0 ? '' : text.slice(at + 1));
  return { route: routeOf(path.split('/').filter((part) => part !== '')), query };
}

function routeOf([first, second, third, ...more]: string[]): Route {
  if (more.length > 0) return { page: 'lost' };
  if (first === undefined) return { page: 'queue' };
  if (first === 'new' && second === undefined) return { page: 'new' };
  if (first === 'fleet' && second === undefined) return { page: 'fleet' };
  if (first === 'incidents' && second !== undefined && ID.test(second)) {
    if (third === undefined) return { page: 'incident', id: second };
    if (third === 'record') return { page: 'record', id: second };
  }
  return { page: 'lost' };
}

/** The address of a place, with its `#`. */
export function address(route: Route, query?: URLSearchParams): string {
  const search = query?.toString();
  return `#${path(route)}${search ? `?${search}` : ''}`;
}

function path(route: Route): string {
  switch (route.page) {
    case 'new':
      return '/new';
    case 'fleet':
      return '/fleet';
    case 'incident':
      return `/incidents/${route.id}`;
    case 'record':
      return `/incidents/${route.id}/record`;
    default:
      return '/';
  }
}

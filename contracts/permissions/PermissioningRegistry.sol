// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ACLStorage} from "contracts/interfaces/ACLStorage.sol";
import {IERC165} from "contracts/permissions/ERC165Query.sol";
import {Ownable} from "contracts/permissions/Ownable.sol";

/// Lists of users per document, each kept by an admin.
///
/// Whoever enters a document first becomes its admin: ids can be squatted.
contract PermissioningRegistry is Ownable, ACLStorage, IERC165 {
    event Permission(bytes32 indexed document);
    event NewAdmin(bytes32 indexed document);

    error NotAdmin();
    error AdminIsZero();
    error DuplicateUser();

    struct Entry {
        address admin;
        bool exposed;
        /// Number of the users' list; a new number is an empty list.
        uint64 list;
    }

    mapping(bytes32 document => Entry) private _entries;
    mapping(bytes32 document => mapping(uint256 list => address[])) private _usersOf;
    mapping(bytes32 document => mapping(uint256 list => mapping(address user => bool))) private _isUser;

    modifier onlyAdmin(bytes32 document) {
        if (msg.sender != _entries[document].admin && msg.sender != owner()) revert NotAdmin();
        _;
    }

    /// Enters a document, or replaces its users; an existing admin stays.
    function permission(bytes32 document, address[] calldata _users) external returns (bool) {
        address admin = _entries[document].admin;
        if (admin == address(0)) {
            // Whatever the owner did before there was an admin, a document starts unexposed.
            _entries[document] = Entry(msg.sender, false, _entries[document].list);
        } else if (msg.sender != admin && msg.sender != owner()) {
            revert NotAdmin();
        }
        return _replaceUsers(document, _users);
    }

    function setUsers(bytes32 document, address[] calldata _users)
        external
        onlyAdmin(document)
        returns (bool)
    {
        return _replaceUsers(document, _users);
    }

    function addUser(bytes32 document, address newUser) external onlyAdmin(document) returns (bool) {
        _addUser(document, _entries[document].list, newUser);
        emit Permission(document);
        return true;
    }

    /// An exposed document is open to everybody.
    function setExposed(bytes32 document, bool _exposed) external onlyAdmin(document) returns (bool) {
        _entries[document].exposed = _exposed;
        emit Permission(document);
        return true;
    }

    function setAdmin(bytes32 document, address newAdmin) external onlyAdmin(document) returns (bool) {
        if (newAdmin == address(0)) revert AdminIsZero();
        _entries[document].admin = newAdmin;
        emit NewAdmin(document);
        return true;
    }

    function removePermission(bytes32 document) external onlyAdmin(document) returns (bool) {
        _entries[document] = Entry(address(0), false, _entries[document].list + 1);
        emit Permission(document);
        return true;
    }

    function checkPermissions(address user, bytes32 document) external view returns (bool) {
        Entry memory entry = _entries[document];
        if (entry.admin == address(0)) return false;
        return entry.exposed || _isUser[document][entry.list][user];
    }

    function permissions(bytes32 document) external view returns (address admin, bool exposed) {
        return (_entries[document].admin, _entries[document].exposed);
    }

    function getAdmin(bytes32 document) external view returns (address) {
        return _entries[document].admin;
    }

    function getUsers(bytes32 document) external view returns (address[] memory) {
        return _usersOf[document][_entries[document].list];
    }

    function isExposed(bytes32 document) external view returns (bool) {
        return _entries[document].exposed;
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IERC165).interfaceId || interfaceId == type(ACLStorage).interfaceId
            || interfaceId == OWNABLE_INTERFACE;
    }

    function _replaceUsers(bytes32 document, address[] calldata users) private returns (bool) {
        uint64 list = _entries[document].list + 1;
        _entries[document].list = list;
        for (uint256 i = 0; i < users.length; ++i) {
            _addUser(document, list, users[i]);
        }
        emit Permission(document);
        return true;
    }

    function _addUser(bytes32 document, uint256 list, address user) private {
        if (_isUser[document][list][user]) revert DuplicateUser();
        _isUser[document][list][user] = true;
        _usersOf[document][list].push(user);
    }
}

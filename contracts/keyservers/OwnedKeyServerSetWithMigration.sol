// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Owned} from "contracts/Owned.sol";
import {KeyServerLists} from "contracts/interfaces/KeyServerLists.sol";
import {KeyServerSetExtensions} from "contracts/interfaces/KeyServerSetExtensions.sol";
import {KeyServerSetWithMigration} from "contracts/interfaces/KeyServerSetWithMigration.sol";

/// A key server set that its owner edits and its members confirm.
///
/// Members stand in numbered lists; current, migration and new set are list numbers. What is known
/// of a server (node id, network address) is stored once, whatever sets it is in.
contract OwnedKeyServerSetWithMigration is
    Owned,
    KeyServerSetWithMigration,
    KeyServerSetExtensions,
    KeyServerLists
{
    error InvalidPublic();
    error InvalidAddress();
    error AlreadyMember();
    error NotMember();
    error TooManyKeyServers();
    error TooManyLists();
    error AlreadyInitialized();
    error InvalidMigrationId();
    error MigrationRunning();
    error NoMigration();
    error NothingToMigrate();
    error AlreadyConfirmed();

    uint256 private constant MAX_MEMBERS = 256;
    /// Services keep 23 bits of a list's number.
    uint256 private constant MAX_LIST = 2 ** 23 - 1;

    struct KeyServer {
        bytes32 x;
        bytes32 y;
        string ip;
    }

    /// All that a vote needs, in one slot. Until initialization is completed, `current` and
    /// `edited` are the same list; `migration` is 0, an empty list, when no migration runs.
    struct Sets {
        uint32 current;
        uint32 migration;
        uint32 edited;
        uint32 lastList;
        uint64 lastChange;
        uint16 currentCount;
        bool initialized;
    }

    Sets private _sets = Sets(1, 0, 1, 1, 0, 0, false);
    address private _migrationMaster;
    bytes32 private _migrationId;
    mapping(address keyServer => KeyServer) private _keyServers;
    mapping(uint256 list => address[]) private _members;
    mapping(uint256 list => mapping(address keyServer => uint256)) private _places;
    /// Bit i: the member with index i of that migration's list has confirmed.
    mapping(uint256 list => uint256) private _confirmations;
    mapping(bytes32 migrationId => bool) private _usedMigrationIds;

    // --- current set

    function getCurrentLastChange() external view returns (uint256) {
        return _sets.lastChange;
    }

    function getCurrentKeyServerIndex(address keyServer) external view returns (uint8) {
        return uint8(_index(_sets.current, keyServer));
    }

    function getCurrentKeyServersCount() external view returns (uint8) {
        uint256 count = _sets.currentCount;
        if (count > type(uint8).max) revert TooManyKeyServers();
        return uint8(count);
    }

    function getCurrentKeyServer(uint8 index) external view returns (address) {
        address[] storage members = _members[_sets.current];
        if (index >= members.length) revert NotMember();
        return members[index];
    }

    function getCurrentKeyServers() external view returns (address[] memory) {
        return _members[_sets.current];
    }

    function getCurrentKeyServerPublic(address keyServer) external view returns (bytes memory) {
        return _publicOf(_sets.current, keyServer);
    }

    function getCurrentKeyServerAddress(address keyServer) external view returns (string memory) {
        return _addressOf(_sets.current, keyServer);
    }

    function getCurrentList() external view returns (uint256 list, uint256 count) {
        return (_sets.current, _sets.currentCount);
    }

    function getCurrentPlace(address keyServer)
        external
        view
        returns (uint256 list, uint256 count, uint256 place)
    {
        list = _sets.current;
        count = _sets.currentCount;
        place = _places[list][keyServer];
    }

    function getPlace(uint256 list, address keyServer) external view returns (uint256) {
        return _places[list][keyServer];
    }

    // --- migration and new set

    function getMigrationKeyServers() external view returns (address[] memory) {
        return _members[_sets.migration];
    }

    function getMigrationKeyServerPublic(address keyServer) external view returns (bytes memory) {
        return _publicOf(_sets.migration, keyServer);
    }

    function getMigrationKeyServerAddress(address keyServer) external view returns (string memory) {
        return _addressOf(_sets.migration, keyServer);
    }

    function getNewKeyServers() external view returns (address[] memory) {
        return _members[_sets.edited];
    }

    function getNewKeyServerPublic(address keyServer) external view returns (bytes memory) {
        return _publicOf(_sets.edited, keyServer);
    }

    function getNewKeyServerAddress(address keyServer) external view returns (string memory) {
        return _addressOf(_sets.edited, keyServer);
    }

    function getMigrationId() external view returns (bytes32) {
        if (_migrationId == 0) revert NoMigration();
        return _migrationId;
    }

    function getMigrationMaster() external view returns (address) {
        return _migrationMaster;
    }

    function isMigrationConfirmed(address keyServer) external view returns (bool) {
        Sets memory sets = _sets;
        uint256 place = _places[sets.migration][keyServer];
        if (place != 0) return _confirmations[sets.migration] >> (place - 1) & 1 == 1;
        if (_places[sets.current][keyServer] == 0) revert NotMember();
        return false;
    }

    function isInitialized() external view returns (bool) {
        return _sets.initialized;
    }

    // --- the owner's work

    /// Adds a server to the new set, and to the current one before initialization is completed.
    function addKeyServer(bytes calldata keyServerPublic, string calldata keyServerIp) external onlyOwner {
        if (keyServerPublic.length != 64) revert InvalidPublic();
        if (bytes(keyServerIp).length == 0) revert InvalidAddress();
        address keyServer = address(uint160(uint256(keccak256(keyServerPublic))));
        uint256 list = _sets.edited;
        if (_places[list][keyServer] != 0) revert AlreadyMember();
        if (_members[list].length == MAX_MEMBERS) revert TooManyKeyServers();
        _keyServers[keyServer] = KeyServer({
            x: bytes32(keyServerPublic[:32]),
            y: bytes32(keyServerPublic[32:]),
            ip: keyServerIp
        });
        _append(list, keyServer);
        if (!_sets.initialized) _sets.currentCount += 1;
        emit KeyServerAdded(keyServer);
    }

    /// Removes a server from the new set, and from the current one before initialization is
    /// completed; the last member takes over its index.
    function removeKeyServer(address keyServer) external onlyOwner {
        uint256 list = _sets.edited;
        uint256 index = _index(list, keyServer);
        if (_sets.initialized) {
            _removeInPlace(list, index, keyServer);
        } else {
            _replaceCurrentWithout(list, index);
        }
        emit KeyServerRemoved(keyServer);
    }

    /// From now on edits touch the new set only.
    function completeInitialization() external onlyOwner {
        if (_sets.initialized) revert AlreadyInitialized();
        _sets.initialized = true;
        _sets.edited = _copyOf(_sets.current);
        emit InitializationCompleted();
    }

    function cancelMigration(bytes32 id) external onlyOwner {
        _requireRunning(id);
        _sets.migration = 0;
        _migrationMaster = address(0);
        emit MigrationCancelled(id);
    }

    function updateKeyServerAddress(address keyServer, string calldata keyServerIp) external onlyOwner {
        if (bytes(keyServerIp).length == 0) revert InvalidAddress();
        Sets memory sets = _sets;
        if (
            _places[sets.current][keyServer] | _places[sets.migration][keyServer]
                | _places[sets.edited][keyServer] == 0
        ) revert NotMember();
        _keyServers[keyServer].ip = keyServerIp;
        emit KeyServerAddressChanged(keyServer);
    }

    // --- the members' work

    /// Freezes the new set as the migration set. Only a member of it may do that: a server that is
    /// leaving could not lead the migration.
    function startMigration(bytes32 id) external {
        Sets memory sets = _sets;
        if (sets.migration != 0) revert MigrationRunning();
        if (id == 0 || _usedMigrationIds[id]) revert InvalidMigrationId();
        if (_places[sets.edited][msg.sender] == 0) revert NotMember();
        if (_sameMembers(sets.current, sets.edited)) revert NothingToMigrate();
        _usedMigrationIds[id] = true;
        _migrationId = id;
        _migrationMaster = msg.sender;
        _sets.migration = _copyOf(sets.edited);
        emit MigrationStarted();
    }

    /// The confirmation of the last member makes the migration set the current one.
    function confirmMigration(bytes32 id) external {
        _requireRunning(id);
        uint256 list = _sets.migration;
        uint256 bit = 1 << _index(list, msg.sender);
        uint256 confirmed = _confirmations[list];
        if (confirmed & bit != 0) revert AlreadyConfirmed();
        confirmed |= bit;
        _confirmations[list] = confirmed;
        uint256 count = _members[list].length;
        if (confirmed != type(uint256).max >> (MAX_MEMBERS - count)) return;
        _sets.current = uint32(list);
        _sets.migration = 0;
        _sets.currentCount = uint16(count);
        _sets.lastChange = uint64(block.number);
        _migrationMaster = address(0);
        emit MigrationCompleted();
    }

    // --- lists

    function _index(uint256 list, address keyServer) private view returns (uint256) {
        uint256 place = _places[list][keyServer];
        if (place == 0) revert NotMember();
        return place - 1;
    }

    function _publicOf(uint256 list, address keyServer) private view returns (bytes memory) {
        _index(list, keyServer);
        KeyServer storage server = _keyServers[keyServer];
        return bytes.concat(server.x, server.y);
    }

    function _addressOf(uint256 list, address keyServer) private view returns (string memory) {
        _index(list, keyServer);
        return _keyServers[keyServer].ip;
    }

    function _requireRunning(bytes32 id) private view {
        if (_sets.migration == 0) revert NoMigration();
        if (id != _migrationId) revert InvalidMigrationId();
    }

    function _append(uint256 list, address keyServer) private {
        address[] storage members = _members[list];
        members.push(keyServer);
        _places[list][keyServer] = members.length;
    }

    function _newList() private returns (uint32 list) {
        list = _sets.lastList + 1;
        if (list > MAX_LIST) revert TooManyLists();
        _sets.lastList = list;
    }

    function _copyOf(uint256 source) private returns (uint32 list) {
        list = _newList();
        address[] memory members = _members[source];
        _members[list] = members;
        for (uint256 i = 0; i < members.length; ++i) {
            _places[list][members[i]] = i + 1;
        }
    }

    /// Only for the new set while it is nobody else's list.
    function _removeInPlace(uint256 list, uint256 index, address keyServer) private {
        address[] storage members = _members[list];
        address last = members[members.length - 1];
        members[index] = last;
        _places[list][last] = index + 1;
        members.pop();
        delete _places[list][keyServer];
    }

    /// A list that has been current is kept for the services; its successor is written anew.
    function _replaceCurrentWithout(uint256 source, uint256 index) private {
        uint32 list = _newList();
        address[] memory members = _members[source];
        uint256 count = members.length - 1;
        members[index] = members[count];
        for (uint256 i = 0; i < count; ++i) {
            _append(list, members[i]);
        }
        _sets.current = list;
        _sets.edited = list;
        _sets.currentCount = uint16(count);
    }

    function _sameMembers(uint256 a, uint256 b) private view returns (bool) {
        if (a == b) return true;
        address[] memory members = _members[a];
        if (members.length != _members[b].length) return false;
        for (uint256 i = 0; i < members.length; ++i) {
            if (_places[b][members[i]] == 0) return false;
        }
        return true;
    }
}
